"""Parse the notation of a net: `parse_net("c8 r m2 flat fc10")`; the inverse is `str(net)`.

In: text. Out: a `Net`, or a `NotationError` with the position and the nearest valid token. The tokens are in `spec.py`,
the grammar is in docs/notation.md. Whether the layers fit an image is checked in `layout.py`.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from typing import Final, NoReturn

from flyweight.errors import NotationError
from flyweight.model.spec import (
    FORMS,
    FRACTION,
    MODIFIERS,
    PAIRS,
    WORDS,
    Layer,
    Net,
    Node,
    Repeat,
    Residual,
    Shared,
    Sides,
    TokenForm,
    Unused,
    as_sides,
)

_MODIFIER = re.compile(r"(?P<letter>[/spdg])(?P<value>\d+)(?:x(?P<width>\d+))?|(?P<bare>nb)")
_LEXEME = re.compile(r"\d+@?\(|\+\(|unused\(|\(|\)|\||[^\s()|]+")
MAX_SHOWN: Final = 200  # characters of a long net around a fault
MAX_DEPTH: Final = 50
"""Maximum nesting of blocks; more would overflow the stack of Python."""
_BLOCKS = ("2(c8 r)", "2@(c8p1 r)", "+(c8p1 r)", "unused(c8)")
LIST: Final = "`flyweight show --layers` lists the layers."
OWN: Final = "Your own nn.Module, as FILE.py:CLASS, can have any layer."
# What others have and the notation has not, by what people type for it.
ABSENT: Final = {
    r"(c|dw)\d*x\d+.*": "a kernel is written after a slash, as in c8/1x7",
    r"(m|a)\d*/?\d+x\d+.*": "the windows of pools are square, as in m2",
    r"(soft_?max|sm)\d*": "the loss applies the softmax, and ls is log-softmax",
    r"(cbam|attn|mha)\w*\d*": "there is no attention but squeeze-and-excitation, se4",
    r"(ct|tc|deconv|convt|up)\w*\d*.*": "there is no transposed convolution and no upsampling",
    r"(ln|gn|in|layernorm|groupnorm|instancenorm)\d*": "the only normalisation is batch norm, bn",
    r"(lstm|gru|rnn|emb)\w*\d*": "layers are those of images",
    r"(cat|concat)\w*.*": "there is no concatenation; +(...) adds",
}
# Each layer and block with its meaning, in the order in which people meet them.
MEANINGS: Final = {
    "c16": "convolution, 16 channels, 3x3; c8/5s2p1nb: 5x5, stride 2, padding 1, no bias; c8/1x7p0x3: 1 high, 7 wide, "
    "padded left and right; d2: dilation; g4: groups",
    "dw": "depthwise convolution; dw2: two channels for each",
    "fc10": "linear, 10 outputs; fc10nb: no bias",
    "bn": "batch norm; bn0: without trained values",
    "bn0": "batch norm without trained values",
    "r": "ReLU, also relu",
    "relu": "ReLU",
    "r6": "ReLU6",
    "leaky": "leaky ReLU",
    "leaky.1": "leaky ReLU with slope 0.1",
    "prelu": "ReLU with a trained slope",
    "elu": "ELU",
    "gelu": "GELU",
    "silu": "SiLU (swish)",
    "hswish": "hard swish",
    "tanh": "tanh",
    "sigmoid": "sigmoid",
    "m2": "max pooling 2x2; m3s2p1: 3x3, stride 2, padding 1",
    "a2": "average pooling 2x2",
    "gap": "average over the whole image",
    "gmp": "maximum over the whole image",
    "aap4": "average pooling to 4x4",
    "amp4": "max pooling to 4x4",
    "do.1": "dropout of values with probability 0.1",
    "sdo.1": "dropout of whole channels",
    "se4": "squeeze-and-excitation: each channel times a gate, with a quarter of the channels between",
    "flat": "flatten",
    "ls": "log-softmax",
    "2(c8 r)": "the block twice, each with its own weights",
    "2@(c8p1 r)": "the block twice with the same weights",
    "+(c8p1 r)": "residual: the block and its input are added; +(... | c8/1): with a layer on the shortcut",
    "unused(c8)": "registered and never called",
}
EXAMPLES: Final = (*WORDS, *(form.example for form in FORMS))


@dataclass(frozen=True)
class _Token:
    text: str
    start: int


def parse_net(text: str) -> Net:
    """The net that `text` describes.

    >>> str(parse_net("c8 relu  m2 2( c16p1 bn r ) gap flat fc10"))
    'c8 r m2 2(c16p1 bn r) gap flat fc10'

    Raises:
        NotationError: with the position, what was found, and the nearest valid token.
    """
    tokens = [_Token(match.group(), match.start()) for match in _LEXEME.finditer(text)]
    parser = _Parser(text, tokens)
    nodes = parser.sequence(until=())
    if not nodes:
        raise NotationError("a net needs at least one layer, found none. Try 'c8 r m2 flat fc10'.")
    return Net(nodes)


def is_own_module(net: str) -> bool:
    """Whether `net` is "file:Class", a module of the user; the notation has no colon.

    >>> is_own_module("nets:Tiny"), is_own_module("c8 r m2 flat fc10")
    (True, False)
    """
    return ":" in net


class _Parser:
    """A recursive descent parser."""

    def __init__(self, text: str, tokens: list[_Token]) -> None:
        self.text, self.tokens, self.at, self.depth = text, tokens, 0, 0

    def sequence(self, until: tuple[str, ...]) -> tuple[Node, ...]:
        nodes: list[Node] = []
        self.depth += 1
        if self.depth > MAX_DEPTH + 1:
            self.fail(self.tokens[self.at - 1], f"blocks can be nested at most {MAX_DEPTH} deep")
        while self.at < len(self.tokens) and self.tokens[self.at].text not in until:
            nodes.append(self.node(self.take()))
        self.depth -= 1
        return tuple(nodes)

    def take(self) -> _Token:
        self.at += 1
        return self.tokens[self.at - 1]

    def node(self, token: _Token) -> Node:
        text = token.text
        if text == "+(":
            return self.residual(token)
        if text == "unused(":
            return Unused(self.body(token))
        if text.endswith("@("):
            return Shared(self.times(token, text[:-2]), self.body(token))
        if text.endswith("(") and text != "(":
            return Repeat(self.times(token, text[:-1]), self.body(token))
        if text in ("(", ")", "|"):
            self.fail(token, f"{text!r} does not start or end a block here; blocks are {', '.join(_BLOCKS)}")
        return self.layer(token)

    def body(self, opening: _Token) -> tuple[Node, ...]:
        nodes = self.sequence(until=(")",))
        self.close(opening)
        if not nodes:
            self.fail(opening, "a block needs at least one layer, found none")
        return nodes

    def residual(self, opening: _Token) -> Residual:
        body = self.sequence(until=("|", ")"))
        if not body:
            self.fail(opening, "a residual block needs at least one layer, found none")
        shortcut: tuple[Node, ...] = ()
        if self.at < len(self.tokens) and self.tokens[self.at].text == "|":
            bar = self.take()
            shortcut = self.sequence(until=(")",))
            if not shortcut:
                self.fail(bar, "a shortcut after '|' needs at least one layer; leave '|' out for the identity")
        self.close(opening)
        return Residual(body, shortcut)

    def close(self, opening: _Token) -> None:
        if self.at == len(self.tokens):
            self.fail(opening, f"{opening.text!r} is never closed; add ')'")
        self.take()

    def times(self, token: _Token, digits: str) -> int:
        times = _integer(digits)
        if not 1 <= times <= 1000:
            self.fail(token, f"the number of repetitions must be 1 to 1000, found {times}")
        return times

    def layer(self, token: _Token) -> Layer:
        if token.text in WORDS:
            return WORDS[token.text]
        for form in FORMS:
            match = re.fullmatch(rf"{form.head}({form.number})((?:[/spdg]\d+(?:x\d+)?|nb)*)", token.text)
            if match and not (form.number == FRACTION and match[2]):
                return self.filled(token, form, match[1], match[2])
        for pattern, what in ABSENT.items():
            if re.fullmatch(pattern, token.text, re.IGNORECASE):
                self.fail(token, f"{token.text!r} is not a layer: {what}. {LIST} {OWN}")
        if "," in token.text.strip(","):
            blanks = " ".join(self.text.replace(",", " ").split())
            self.fail(token, f"layers have blanks between them, no commas: {blanks!r}")
        self.fail(token, f"{token.text!r} is not a layer.{_nearest(token.text)} {LIST}")

    def filled(self, token: _Token, form: TokenForm, number: str, modifiers: str) -> Layer:
        values: dict[str, Sides | bool] = {}
        for part in _MODIFIER.finditer(modifiers):
            letter = "n" if part["bare"] else part["letter"]
            field, minimum = ("bias", 0) if letter == "n" else MODIFIERS[letter]
            if letter not in form.modifiers:
                self.fail(token, f"{part.group()!r} does not apply to '{form.head}' layers")
            if field in values:
                self.fail(token, f"{field} is given twice")
            values[field] = False if letter == "n" else self.sides(token, form, part, field, minimum)
        if form.number == FRACTION:
            return form.make(self.fraction(token, float(number)))
        if number == "":
            return form.make(**values)
        return form.make(self.bounded(token, "the number after " + repr(form.head), _integer(number), 1), **values)

    def sides(self, token: _Token, form: TokenForm, part: re.Match[str], field: str, minimum: int) -> Sides:
        """The number of a modifier, or two as HxW."""
        height = self.bounded(token, field, _integer(part["value"]), minimum)
        if part["width"] is None:
            return height
        if part["letter"] not in PAIRS or PAIRS[0] not in form.modifiers:
            which = "kernel and padding of convolutions"
            self.fail(
                token, f"{field} is one number, found {part.group()!r}; only {which} may be HxW, as in c8/1x7p0x3"
            )
        return as_sides(height, self.bounded(token, field, _integer(part["width"]), minimum))

    def bounded(self, token: _Token, what: str, value: int, minimum: int) -> int:
        # A typo must not need terabytes.
        if not minimum <= value <= 65536:
            self.fail(token, f"{what} must be {minimum} to 65536, found {value}")
        return value

    def fraction(self, token: _Token, value: float) -> float:
        if not 0 <= value < 1:
            self.fail(token, f"the fraction must be at least 0 and below 1, found {value:g}")
        return value

    def fail(self, token: _Token, what: str) -> NoReturn:
        start = max(0, token.start - MAX_SHOWN // 2) if len(self.text) > MAX_SHOWN else 0
        shown = "".join(each if each.isprintable() else " " for each in self.text[start : start + MAX_SHOWN])
        before, marks = token.start - start, min(len(token.text), MAX_SHOWN - token.start + start)
        if len(what) > 4 * MAX_SHOWN:  # it quotes what was written
            what = f"{what[:MAX_SHOWN]}...{what[-MAX_SHOWN:]}"
        raise NotationError(f"net, position {token.start + 1}: {what}\n  {shown}\n  {' ' * before}{'^' * marks}")


def _integer(digits: str) -> int:
    """The integer, or a billion for ten or more digits: Python refuses thousands of digits."""
    return int(digits) if len(digits) < 10 else 10**9


def _nearest(word: str) -> str:
    plain = word.lower().strip(",;")
    if plain != word and _is_layer(plain):
        return f" Did you mean {plain!r}? Write layers in lowercase letters with spaces between them."
    head = re.sub(r"[\d./].*", "", word)
    by_head = [example for example in EXAMPLES if head and re.sub(r"[\d./].*", "", example) == head]
    same_start = [example for example in EXAMPLES if example[0] == word[0]]
    found = by_head or difflib.get_close_matches(word, same_start, n=1, cutoff=0.3)
    found = found or difflib.get_close_matches(word, EXAMPLES, n=1, cutoff=0.3)
    return f" Did you mean {found[0]!r}?" if found else ""


def _is_layer(word: str) -> bool:
    try:
        return len(parse_net(word).nodes) == 1
    except NotationError:
        return False
