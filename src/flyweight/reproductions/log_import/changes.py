"""What the words of a change say for certain: that layers with parameters came, went or changed their size, or that
nothing but the training was changed. Where the words may mean something else, nothing is said."""

from __future__ import annotations

import re
from typing import Final

# Words by which a change may be none, or undo itself.
_UNSURE: Final = re.compile(
    r"\b(?:no|not|none|without|unchanged|same|keep|keeps|kept|will|would|plan\w*|next|mov\w+|reorder\w*|swap\w*|revert\w*"
    r"|undo|undid|back|try|but|except)\b|n't\b"
)
_WHICH: Final = (
    r"(?:(?:a|an|the|one|two|three|another|extra|more|some|new|additional|all|last|first|second|final|transition|affine"
    r"|pointwise|depthwise|2d|[0-9]+|[0-9]x[0-9])\s+){0,4}"
)
_LAYER: Final = (
    r"(?:batch[ _-]?norm(?:ali[sz]ations?|2d|s)?|bn|conv(?:olutional|olutions?|2d|s)?|fully[ -]connected|fc|linear"
    r"|dense)(?:\s+(?:layers?|blocks?))?"
)
_COMES: Final = r"(?:add(?:ed|ing|s)?|introduc(?:ed|ing)|insert(?:ed|ing)|remov(?:ed|ing|e)|delet(?:ed|ing))"
# What may follow a layer that is meant itself, and not as a word before "dropout" or "momentum".
_AND_NO_MORE: Final = r"(?=\s*(?:$|[.,;:()+&/]|(?:after|before|in|to|from|at|between|for|with|and|on|of)\b))"
# A layer that is the whole change came: "BN", "extra conv". "3 conv layers" may be all there are, "linear" a schedule.
_NAME_ALONE: Final = re.compile(
    r"[^\w?]*(?P<words>(?:(?:(?:an?|one|two|three|some|[0-9]+)\s+)?(?:another|extra|more|new|additional)\s+|an?\s+)?"
    r"(?:(?:transition|affine|pointwise|depthwise|2d|[0-9]x[0-9])\s+){0,2}"
    rf"(?!(?:linear|dense)\b\W*$){_LAYER})[^\w?]*"
)
_WIDTH: Final = (
    r"(?:channels?|filters?|(?<!pool )(?<!pooling )kernels?(?:\s+sizes?)?|(?<!crop )(?<!image )widths?|feature\s+maps"
    r"|neurons|hidden\s+units)"
)
_RESIZES: Final = r"(?:increas|decreas|reduc|doubl|halv|chang)"

_LAYERS_CHANGED: Final = tuple(
    re.compile(pattern)
    for pattern in (
        rf"\b{_COMES}\s+{_WHICH}{_LAYER}{_AND_NO_MORE}",
        rf"(?:^|[.,;:+&]|\band\b)\s*(?P<words>{_WHICH}{_LAYER}\s+(?:(?:was|were|is|are)\s+)?"
        r"(?:added|introduced|inserted|removed|deleted)\b)",
        r"(?:^|[.,;:+&])\s*(?P<words>(?:batch[ -]?norm(?:ali[sz]ation)?|bn)\s+after\s+"
        r"(?:(?:each|every|all|the)\s+)?conv\w*)",
        r"\+\s*(?P<words>batch[ -]?norm(?:ali[sz]ation)?|bn)\b",
        rf"\b{_RESIZES}\w*\s+(?:(?:the|all|conv\w*|number|no\.?|of)\s+)*{_WIDTH}\b",
        rf"\b{_WIDTH}\s+(?:(?:count|number|size|was|were|is|are)\s+)*{_RESIZES}\w*",
        rf"\b(?:fewer|more|less)\s+{_WIDTH}\b",
        rf"\b{_WIDTH}\b[^.;]*?\b(?P<before>[0-9]+)\s*(?:→|->|=>)\s*(?!(?P=before)\b)[0-9]+",
    )
)

_SETTING: Final = re.compile(
    r"\b(?:lr|learning rate|batch(?: ?size)?|momentum|weight decay|wd|optimi[sz]er|sgd|adamw?|rmsprop|nesterov"
    r"|schedul(?:ers?|e)|step ?lr|one ?cycle(?: ?lr)?|cosine(?: annealing)?|reduce ?lr ?on ?plateau|gamma|step size"
    r"|warm ?up|drop ?outs?|(?:(?:data|image) )?augmentations?|(?:random )?(?:rotations?|crops?|affine|erasing)|epochs?"
    r"|seeds?|early stopping|patience|label smoothing|shuffl\w+)\b"
)
# Words that may stand around settings without bringing in anything of the net.
_AROUND: Final = re.compile(
    r"(?:a|added|add|adding|again|all|an|and|applied|at|back|by|change|changed|changes|"
    r"decrease|decreased|decreasing|default|disabled|doubled|enabled|ex|exp|experiment|fewer|final|fixed|for|"
    r"from|further|halved|higher|in|increase|increased|increasing|initial|initially|instead|is|"
    r"it|iter|iteration|larger|less|longer|lower|lowered|lowering|max|min|minimum|maximum|more|new|now|of|"
    r"off|on|only|p|per|probability|raise|raised|rate|reduce|reduced|reducing|remove|removed|"
    r"removing|run|set|size|smaller|step|steps|switch|switched|the|to|train|trained|training|"
    r"tune|tuned|tuning|up|use|used|using|value|values|was|were|with)"
)
_NUMBER: Final = re.compile(r"[0-9][0-9.,]*(?:e[-+]?[0-9]+)?k?\b")


def layers_changed(change: str) -> str | None:
    """The words of a change by which the number of parameters must change, but for a coincidence.

    >>> layers_changed("Batch normalization added after each conv layer"), layers_changed("Dropout added after conv1")
    ('Batch normalization added', None)
    >>> layers_changed("batch norm"), layers_changed("batch size")
    ('batch norm', None)
    """
    lowered = change.lower()
    if _UNSURE.search(lowered):
        return None
    for match in (_NAME_ALONE.fullmatch(lowered), *(pattern.search(lowered) for pattern in _LAYERS_CHANGED)):
        if match:
            start, end = match.span("words") if "words" in match.re.groupindex else match.span()
            # Some letters are longer when small, and then the places are those of the small text.
            return (change if len(change) == len(lowered) else lowered)[start:end]
    return None


def is_name_alone(change: str) -> bool:
    """Whether a change is the name of a layer and no more, which two rows may have for being alike.

    >>> is_name_alone("Batch norm"), is_name_alone("Added batch norm")
    (True, False)
    """
    return _NAME_ALONE.fullmatch(change.lower()) is not None


def is_training_only(change: str) -> bool:
    """Whether a change names settings of the training and nothing else.

    >>> is_training_only("Batch size doubled to 1024"), is_training_only("Dropout 0.1, one more conv")
    (True, False)
    """
    said = " ".join(re.sub(r"\W|_", " ", _NUMBER.sub(" ", change.lower())).split())
    rest, n_settings = _SETTING.subn(" ", said)
    return n_settings > 0 and all(_AROUND.fullmatch(word) for word in rest.split())
