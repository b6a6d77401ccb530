"""The keys of the chat, as its help lists them."""

KEYS = """\
everywhere
  Tab, Shift-Tab      next, previous pane
  Esc                 stop the turn that runs; else back to the line below
  F1                  this
  Ctrl-Q, Ctrl-C      leave

in the line
  Enter               ask, or carry out a /command
  Up, Down            what was typed before
  Tab, Right          take what is suggested

in the tree and in the text
  x                   kill the thread and all below it
  f                   fork it, with a hint or none: in the text at the cursor
  p                   pin an answer
  b                   give the turn that runs another budget
  v                   read the thread with its formulas
  [ ]                 the turn before, the turn after

in the tree
  Up, Down, PgUp, PgDn, Home, End
  Left, Right, Space  fold, unfold
  Enter               into the text
  w, n, e             to the winner, the next that writes, the next that failed
  o, /                only: open, failed, critical; only what has these words
  d                   decisions on and off
  a                   select by itself again

in the text
  Up, Down, PgUp, PgDn, Home
  Left, Right         by tokens, as they came
  End                 follow what is written
  Enter               back to the tree

in the tree: ⠹ writing, ◌ waiting, ✓ done or joined, ★ the answer came from it, ✂ cut by a limit,
⊘ stopped, ✗ failed, ┃ critical path, ◆ decision, Σ tokens with all below, @ the clock
"""
