"""What the attacks of ART, foolbox and torchattacks have in common when a suite names one."""

from __future__ import annotations

import contextlib
import functools
import importlib
import inspect
import io
import random
import re
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple, get_args

from pydantic import PlainValidator, SerializeAsAny, WithJsonSchema, model_validator

from gtn_bench.datasets import Dataset
from gtn_bench.description import Mistake, PositiveInt, did_you_mean
from gtn_bench.perturbations.base import Batch, Nearest, Norm, Perturbation, SearchWith, Target, aims, length

if TYPE_CHECKING:
    from torch import Tensor

    from gtn_bench.classifiers import Classifier

RADIUS = "radius"  # what beta drives of an attack that looks for the smallest change by itself
Access = Literal["white", "black", "none"]


class Known(NamedTuple):
    """What the library does not say of an attack class in a way that can be read by a program.

    drives: the parameter that beta sets if a suite names no other; `radius` for a search for the smallest change.
    norm: that of the ball or of the search, unless a parameter `norm` says it; None if there is neither.
    access: whether it follows gradients (`white`), asks for outputs (`black`), or looks at no classifier (`none`).
    budget: the parameters that bound what a black-box attack asks. A suite has to set one of them.
    target: what it aims at if a suite does not say; some attacks know no other aim.
    channels: how many the images must have, if not any number.
    probabilities: whether it is for classifiers whose outputs are probabilities.
    """

    drives: str
    norm: Norm | None = None
    access: Access = "white"
    budget: tuple[str, ...] = ()
    target: Target = "any"
    channels: int | None = None
    probabilities: bool = False


def _value(value: object) -> object:
    """Infinity is a value here: ART's name of the maximum norm."""
    if isinstance(value, list | tuple):
        return [_value(entry) for entry in value]
    if not isinstance(value, bool | int | float | str | None) or value != value:
        raise ValueError(f"expects a number, a text, true, false, null, or a list of these, got {value!r}")
    return value


Value = Annotated[
    Any,
    PlainValidator(_value),
    WithJsonSchema({"type": ["boolean", "number", "string", "null", "array"]}),
]


class LibraryAttack(Perturbation):
    """An attack class of another library, called by its name: `foolbox.LinfPGD`.

    `drives` names the parameter that beta sets; `radius` stands for none: the attack looks for the
    smallest change, which counts from the beta on that is its length in the norm `ball`. `params`
    are the other parameters; what is left out is filled with the library's own default, so that the
    resolved suite says all of it. `target: next` aims at the class after the label.
    Random attacks draw for a whole batch, so `batch_size` is part of what determines the numbers.
    """

    meaning = "the attack's own parameter"
    namespace: ClassVar[str]  # the module in which attacks are looked up, and nowhere else
    base_class: ClassVar[str]  # what they derive from, as "module:class"
    handled: ClassVar[tuple[str, ...]]  # constructor parameters that are set here
    known: ClassVar[Mapping[str, Known]]  # by the name of the attack class
    others: ClassVar[Mapping[str, str]]  # classes that do not attack image classifiers, and what they are for

    attack: str
    drives: str = ""
    ball: Norm | None = None
    target: Target = "any"
    params: dict[str, Value] = {}
    batch_size: PositiveInt = 128

    @property
    def title(self) -> str:
        return f"{self.name}.{self.attack}"

    @property
    def axis(self) -> str:
        if self.drives == RADIUS:
            return f"{self.ball} distance found by {self.title}"
        return f"{self.drives} of {self.title}"

    @property
    def uses_gradient(self) -> bool:  # type: ignore[override]
        return self.attack not in self.known or self.known[self.attack].access == "white"

    @property
    def batch(self) -> Batch:
        return self.batch_size

    @property
    def promise(self) -> tuple[Norm, float] | None:
        """Of the ball whose radius a parameter sets, where the norm is known."""
        known = self.known.get(self.attack)
        if known is None or known.drives == RADIUS or self.ball is None:
            return None
        radius = self.beta if self.drives == known.drives else self.params.get(known.drives)
        return (self.ball, float(radius)) if isinstance(radius, int | float) else None

    @property
    def claim(self) -> tuple[Norm, float] | None:
        """Not of noise, which asks nothing, nor of an attack that looks for one class alone."""
        known = self.known.get(self.attack)
        return self.promise if known and known.access != "none" and self.target == "any" else None

    @property
    def counts(self) -> bool:
        driven = self.parameters().get(self.drives)
        if driven is None or "float" in _stated(driven):
            return False
        whole = isinstance(driven.default, int) and not isinstance(driven.default, bool)
        return whole or bool(re.search(r"\bint\b", _stated(driven)))

    @model_validator(mode="before")
    @classmethod
    def _filled_from_the_table(cls, fields: Any) -> Any:
        """What the table knows of the attack, where the suite says nothing."""
        if not isinstance(fields, dict) or fields.get("attack") not in cls.known:
            return fields
        known = cls.known[fields["attack"]]
        filled = {"drives": known.drives, "target": known.target, **fields}
        given = fields.get("params")
        stated = given.get("norm") if isinstance(given, dict) else None
        norm = _norm(stated) if stated is not None else known.norm
        return {"ball": norm, **filled} if norm else filled

    @model_validator(mode="after")
    def _known_and_complete(self) -> LibraryAttack:
        who = f"attack '{self.title}'"
        accepted = self.parameters()
        drivable = [*accepted, RADIUS]
        for name in self.params:
            if name not in accepted:
                raise Mistake(f"{who} has no parameter '{name}'{did_you_mean(name, accepted)}")
        if not self.drives:
            raise Mistake(f"{who}: needs drives, the parameter that beta sets, or '{RADIUS}'")
        if self.drives not in drivable:
            raise Mistake(f"{who} has no parameter '{self.drives}'{did_you_mean(self.drives, drivable)}")
        if self.drives in self.params:
            raise Mistake(f"{who}: '{self.drives}' is driven by beta and cannot be set in params")
        if self.drives == RADIUS and self.ball is None:
            raise Mistake(f"{who}: needs ball, the norm in which it looks for the smallest change")
        for name, value in self.params.items():
            _check_value(f"{who}: '{name}'", value, accepted[name])
        budget = self.known[self.attack].budget if self.attack in self.known else ()
        if budget and not {*self.params, self.drives} & {*budget}:
            defaults = ", ".join(f"{name}: {accepted[name].default}" for name in budget)
            raise Mistake(f"{who} is a black-box attack: say in params what it may ask (by default {defaults})")
        for name, parameter in accepted.items():
            if name in self.params or name == self.drives:
                continue
            if parameter.default is parameter.empty:
                raise Mistake(f"{who} needs the parameter '{name}'")
            with contextlib.suppress(ValueError):
                self.params[name] = _value(parameter.default)
        return self

    def check(self, dataset: Dataset) -> None:
        """Make the attack for an untrained classifier, so that the library's own complaints come early."""
        import torch
        from torch import nn

        from gtn_bench.classifiers import Classifier

        known, channels = self.known.get(self.attack), dataset.input_shape[0]
        if known and known.channels not in (None, channels):
            what = f"is for images of {known.channels} channels, data set '{dataset.name}' has {channels}"
            raise Mistake(f"attack '{self.title}' {what}")
        if self._is_nothing:
            return
        layer = nn.Linear(torch.Size(dataset.input_shape).numel(), dataset.num_classes)
        classifier = Classifier(nn.Sequential(nn.Flatten(), layer), dataset.input_shape, dataset.num_classes)
        try:
            with isolated(torch.zeros(1, dtype=torch.int64)):
                self.make(classifier, seed=0)
        except Mistake:
            raise
        except Exception as error:
            reason = f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"
            raise Mistake(f"attack '{self.title}' refuses its parameters: {reason}") from None

    def make(self, classifier: Classifier, seed: int) -> Any:
        """The library's attack object around its view of the classifier."""
        raise NotImplementedError

    def generate(self, made: Any, classifier: Classifier, x: Tensor, aim: Tensor) -> Tensor:
        """Call what `make` returned; `aim` (N,) is what it leads away from, or to if it has a target."""
        raise NotImplementedError

    def __call__(self, classifier: Classifier, x: Tensor, y: Tensor, seeds: Tensor) -> Tensor:
        if self._is_nothing:
            return x
        with isolated(seeds):
            made = self.make(classifier, int(seeds[0]))
            return self.generate(made, classifier, x, aims(y, classifier.num_classes, self.target))

    @property
    def _is_nothing(self) -> bool:
        """A ball of no size, which some of the libraries refuse."""
        return self.promise is not None and self.promise[1] == 0

    def settings(self) -> dict[str, Any]:
        """The constructor's parameters that the suite decides, beta among them."""
        params = {name: tuple(value) if isinstance(value, list) else value for name, value in self.params.items()}
        if self.drives not in self._signature():  # a radius, or a parameter of the call
            return params
        driven, whole = self.parameters()[self.drives], self.beta == int(self.beta)
        if re.search(r"\bint\b", _stated(driven)) and "float" not in _stated(driven) and not whole:
            raise Mistake(f"attack '{self.title}': '{self.drives}' expects whole numbers, got {self.beta:g}")
        counts = "float" not in _stated(driven) and isinstance(driven.default, int | None)
        return {**params, self.drives: int(self.beta) if whole and counts else self.beta}

    def attack_class(self) -> Any:
        """The class, from the library's attack namespace. Raises `Mistake` for any other name."""
        if self.attack in self.others:
            raise Mistake(f"attack '{self.title}' does not apply: {self.others[self.attack]}")
        attacks = library_attacks(type(self))
        if self.attack not in attacks:
            short = next((name for name in attacks if "".join(filter(str.isupper, name)) == self.attack), self.attack)
            titles = [f"{self.name}.{name}" for name in attacks]
            raise Mistake(f"unknown attack '{self.title}'{did_you_mean(f'{self.name}.{short}', titles)}")
        return attacks[self.attack]

    def parameters(self) -> dict[str, inspect.Parameter]:
        """The parameters that a suite may set."""
        return {name: parameter for name, parameter in self._signature().items() if name not in self.handled}

    def _signature(self) -> dict[str, inspect.Parameter]:
        parameters = inspect.signature(self.attack_class().__init__).parameters
        named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        return {name: p for name, p in parameters.items() if name != "self" and p.kind in named}


class Radius(SearchWith):
    """The result of a library's search for the smallest change, counted from the radius on that it needed."""

    name = "radius"
    meaning = "radius"
    of: SerializeAsAny[LibraryAttack]

    @property
    def promise(self) -> tuple[Norm, float] | None:
        return (self.of.ball, self.beta) if self.of.ball else None

    @property
    def claim(self) -> tuple[Norm, float] | None:
        return self.promise if self.of.target == "any" else None

    def nearest(self, classifier: Classifier, x: Tensor, y: Tensor, seeds: Tensor) -> Nearest:
        import torch

        assert self.of.ball is not None
        aim = aims(y, classifier.num_classes, self.of.target)
        x_adv = self.of(classifier, x.clone(), y, seeds).detach().to(x).clamp(0, 1)
        away = self.of.target == "any"
        hit, at_once = ((classifier.predict(images) != aim) == away for images in (x_adv, x))
        x_adv = x_adv.where((hit & ~at_once).view(-1, 1, 1, 1), x)
        strength = length(x_adv - x, self.of.ball)
        return Nearest(x_adv, strength.where(hit | at_once, torch.inf))


@functools.cache
def library_attacks(library: type[LibraryAttack]) -> dict[str, Any]:
    """All attack classes of a library by name, from its attack namespace. Raises `Mistake` if it is not installed."""
    module, _, parent = library.base_class.partition(":")
    try:
        found = vars(importlib.import_module(library.namespace))
        base = getattr(importlib.import_module(module), parent)
    except ImportError as error:
        raise Mistake(f"attacks '{library.name}.<Class>' need an installed {library.packages[0]}: {error}") from None
    classes = {name: cls for name, cls in found.items() if inspect.isclass(cls) and issubclass(cls, base)}
    return {name: cls for name, cls in sorted(classes.items()) if not inspect.isabstract(cls)}


@contextlib.contextmanager
def isolated(seeds: Tensor) -> Iterator[None]:
    """Global generators of torch, NumPy and Python set from the first seed, and put back after; nothing is printed.

    Generators that NumPy would start from the system's own entropy start from the global one instead.
    """
    import numpy as np
    import torch

    seed = int(seeds[0])
    python, numpy, entropic = random.getstate(), np.random.get_state(), np.random.RandomState
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed % 2**32)
        np.random.RandomState = _seeded(entropic)  # type: ignore[misc]
        printed = io.StringIO()  # progress bars that no parameter turns off
        try:
            with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
                yield
        finally:
            np.random.RandomState = entropic  # type: ignore[misc]
            random.setstate(python)
            np.random.set_state(numpy)


@functools.cache
def _seeded(random_state: Any) -> Any:
    """NumPy's class of generators, with the next number of the global one as default seed."""
    import numpy as np

    class Kind(type):
        def __instancecheck__(cls, instance: object) -> bool:
            return isinstance(instance, random_state)

    class RandomState(random_state, metaclass=Kind):  # type: ignore[misc]
        def __init__(self, seed: Any = None) -> None:
            super().__init__(np.random.randint(2**32, dtype=np.uint64) if seed is None else seed)

    return RandomState


def _norm(stated: object) -> Norm | None:
    """The norm that a parameter called `norm` means."""
    text = str(stated).lower().removeprefix("l")
    return {"0": "l0", "1": "l1", "2": "l2", "inf": "linf"}.get(text)  # type: ignore[return-value]


def _stated(parameter: inspect.Parameter) -> str:
    """The type that a signature states, as text; nothing if it states none."""
    annotation = parameter.annotation
    if annotation is parameter.empty:
        return ""
    return annotation.__name__ if isinstance(annotation, type) else str(annotation)


def _kind(parameter: inspect.Parameter) -> str | None:
    """What a value must be, by the signature's type or else by its default's; None where several kinds will do."""
    default, stated = parameter.default, _stated(parameter)
    if isinstance(default, bool) or stated == "bool":
        return "true or false"
    if stated == "int":
        return "an integer"
    if any(word in stated for word in ("str", "Literal", "None", "Optional", "Callable")):
        return None
    return next((kind for kind, type_ in _DEFAULTS.items() if isinstance(default, type_)), None)


_DEFAULTS: dict[str, Any] = {"a number": int | float, "a text": str, "a list": tuple}
_IS: dict[str, Callable[[Any], bool]] = {
    "true or false": lambda value: isinstance(value, bool),
    "an integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "a number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "a text": lambda value: isinstance(value, str),
    "a list": lambda value: isinstance(value, list),
}


def _choices(parameter: inspect.Parameter) -> list[str]:
    """The texts that a signature allows, if it lists them."""
    if "Literal" not in _stated(parameter) or "Optional" in _stated(parameter):
        return []
    choices = [choice for part in get_args(parameter.annotation) for choice in get_args(part) or (part,)]
    return [choice for choice in choices if isinstance(choice, str)]


def _check_value(who: str, value: Any, parameter: inspect.Parameter) -> None:
    """Raise `Mistake` unless a value suits the parameter; one whose default is positive takes no negative number."""
    choices, kind, default = _choices(parameter), _kind(parameter), parameter.default
    if choices and value not in choices:
        raise Mistake(f"{who} expects one of {', '.join(choices)}, got {value!r}{did_you_mean(value, choices)}")
    if kind and not _IS[kind](value):
        raise Mistake(f"{who} expects {kind}, got {value!r}")
    if parameter.name == "norm" and isinstance(value, str) and _norm(value) and _norm(default):
        spelled = value.capitalize()  # torchattacks compares texts, and not before it attacks
        if value != spelled:
            raise Mistake(f"{who} expects {spelled!r}, got {value!r}")
    if _IS["a number"](value) and value < 0 and isinstance(default, int | float) and default > 0:
        raise Mistake(f"{who} expects a number of at least 0, got {value!r}")
