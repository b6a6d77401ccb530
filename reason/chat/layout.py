"""Where the panes of the chat stand: side by side, or one above the other."""

LAYOUT = """
#status { height: 1; background: $panel; color: $text-muted; padding: 0 1; }
#small { display: none; height: 1fr; content-align: center middle; color: $text-error; }
Screen.-small #small { display: block; }
Screen.-small #body, Screen.-small #status, Screen.-small Footer, Screen.-small #line {
    display: none;
}
#body { height: 1fr; layout: vertical; }
.-wide #body { layout: horizontal; }
#threads { height: 3fr; width: 1fr; }
#threads.-empty { display: none; }
.-wide #threads { height: 1fr; width: 3fr; }
Conversation { height: 2fr; width: 1fr; }
.-wide Conversation { height: 1fr; width: 2fr; }
.-narrow Conversation:focus { height: 5fr; }
#trees { height: 3fr; layout: vertical; }
.-wide #trees.pair { layout: horizontal; }
.-wide #trees TreeView { width: 1fr; }
.-wide #trees.pair TreeView { margin: 0 1 0 0; }
#text { height: 2fr; }
.-narrow #text:focus { height: 6fr; }
.-narrow #threads:focus-within { height: 6fr; }
#line { height: 1; layout: horizontal; background: $boost; }
#line:focus-within { background: $primary-muted; }
#line > #mark { width: 2; color: $accent; text-style: bold; visibility: hidden; }
#line:focus-within > #mark { visibility: visible; }
#line > PromptLine { width: 1fr; }
"""
