"""What cpu.py holds its figures against: how many times faster than ONNX
Runtime's dense fp32, or than our own dense program (`own`)."""
import re
from collections import namedtuple

Goal = namedtuple("Goal", "value own", defaults=(False,))

# Share of the FMA peak of the dense program.
PEAK_GOAL = {"rotation": 0.93}

# (case, as a regular expression) -> zeros -> times faster.
OWN = {
    "rotation": {"u50": 1.8, "u70": 2.7, "u80": 3.6, "u90": 6.3, "u95": 9.5,
                 "24": 1.85, "4x1-90": 9},
    "rotation16": {"u80": 2.5, "u90": 5},
    "row": {"u50": 1.6, "u80": 2.5, "u90": 7, "16x1-90": 7},
}
OVER = {
    "(conv|chain)1x1-.*": {"u80": 3.5, "u90": 6, "u95": 10},
    "(conv|chain)3x3-.*": {"dense": 1.9, "u90": 5.5},
    "bert": {"dense": 1.08, "u50": 1.8, "24": 1.8, "u80": 3.4, "u90": 5.4,
             "4x1-90": 7.5, "dense bf16": 2.1, "1x4-80 int8": 8},
    "minilm": {"dense": 1.05, "u80": 3},
    "resnet50": {"dense": 1.05, "u80": 2.3, "u90": 3.4, "u95": 4.5},
    "mobilenet2": {"dense": 1.0, "u80": 1.8, "u90": 2.3},
    "decode": {"u50": 2.0},
}


def goal_of(case, zeros):
    for goals, own in ((OWN, True), (OVER, False)):
        for pattern, values in goals.items():
            if re.fullmatch(pattern, case) and zeros in values:
                return Goal(values[zeros], own)
    return None
