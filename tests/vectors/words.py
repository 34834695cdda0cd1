"""Words that are something else to some shell, terminal or format."""

HOSTILE = [
    "", " ", "a b", "'", '"', "\\", "\\'", "$HOME", "$(touch /tmp/hit)", "`id`", "; exit 9", "a\nb",
    "\n", "\r", "\t", "!x", "!!", "%s", "%(x)s", "*", "~", "{a,b}", "-n", "--", "#", "&", "|", ">",
    "ä€😀", "\udcff", "\x1b[31m", "x" * 100_000,
]  # fmt: skip
