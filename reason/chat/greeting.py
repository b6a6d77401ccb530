"""What the model at hand can do, in a line or two."""

from reason.chat.hosts import Host

COUNTDOWN = "make 24 from 3 5 7 8"
ABLE = {
    "countdown": (
        "It plays Countdown and nothing else: a target from three to five numbers, each used at "
        "most once. Enter asks the example below; /model hf:NAME connects a general model.",
        COUNTDOWN,
    ),
    "lookup": ("It looks things up in texts: contexts=@FILES is a key of /method ape.", ""),
}


def greeting(host: Host) -> tuple[str, str]:
    """What to say of a host, and an example for it, if there is one."""
    able, example = ABLE.get(host.grammar, ("Ask anything; /help lists commands, F1 keys.", ""))
    return f"{host.model} is connected. {able}", example
