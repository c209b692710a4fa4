"""The text side of a call or a Scorer: arguments checked, minibatch drawn, texts packed, thresholds set."""

from __future__ import annotations

import logging
from typing import Any, Generic

import numpy as np

from hnscore.arguments.rules import check_not_empty
from hnscore.engine.protocol import NO_RULES, Engine, Find, Groups, Progress, Rows, Rules, Values
from hnscore.scores.margin import SAMPLED_FROM, Sample, judge_margin, steps, warn_if_too_small
from hnscore.scores.rule import Rule, settings_of

_LOG = logging.getLogger("hnscore")
_LARGE_SHARE = 0.1  # of the pairs that count, said where anything is said


class TextSide(Generic[Rows, Values, Groups]):
    """Everything about the texts that the images of any number of chunks are scored against."""

    def __init__(
        self,
        engine: Engine[Rows, Values, Groups],
        txt: Rows,
        rule: Rule,
        n_img: int | None = None,
        keep: bool = False,
        recipe: str | None = None,
    ) -> None:
        n_txt = txt.shape[0]
        if not n_txt:
            check_not_empty("txt_emb", txt)
        self.engine, self.settings = engine, settings_of(n_txt, rule, engine.precisions)
        if recipe is not None:
            self.settings = self.settings._replace(request=self.settings.request._replace(recipe=recipe))
        self.limits = self.groups = None
        self.drawn = drawn = self.settings.draw(rule.random_state) if self.settings.is_minibatch else None
        if rule.max_similarity is not None:
            self.limits = engine.limits("max_similarity", rule.max_similarity, n_txt, drawn)
        if rule.txt_groups is not None:
            self.groups = engine.groups(rule.txt_groups, n_txt, drawn)
        self.txt = txt if drawn is None and not keep else engine.taken(txt, drawn, keep)
        self.packed = engine.packed(self.txt, self.settings.request, n_img, keep)
        self.tau: Values | None = None

    def rules_for(self, engine: Engine[Rows, Values, Groups], img_groups: object, n_img: int) -> Rules[Values]:
        """What stands beside the threshold, for images with these labels."""
        if self.groups is None:
            return NO_RULES if self.limits is None else Rules(self.limits)
        return Rules(self.limits, *engine.same_groups(self.groups, img_groups, n_img))

    def set_reference(self, reference: Values, closed: bool = False) -> None:
        """`closed`: a pair counts at its threshold too."""
        tau = self.engine.thresholds(reference, self.settings.margins)
        self.tau = self.engine.just_below(tau) if closed else tau

    def hold(self) -> None:
        """For calls that come later."""
        groups = None if self.groups is None else self.engine.group_numbers(self.groups)
        self.packed.hold(self.engine, self.tau, self.limits, groups)

    def given(self, reference: object) -> Values:
        """The similarities that a reference array means for the texts in use."""
        return self.engine.reference(
            reference, self.settings.n_txt, self.txt, self.drawn, self.settings.request.similarity
        )

    def owned(self, owner: object, paired: Rows, name: str) -> Values:
        """Which row of the paired images is the own image of each text in use."""
        return self.engine.owners(owner, self.settings.n_txt, paired.shape[0], name, self.drawn)

    def similarity(self, paired: Rows, own: Values | None) -> Values:
        """Of each text in use with its own image."""
        return self.engine.similarity(paired, self.txt, self.settings.request.similarity, own)

    def prepare(self, images: Rows, n_img: int, rules: Rules[Values]) -> None:
        """Chooses the method, once, for about `n_img` images like these, and packs the texts for it."""
        assert self.tau is not None
        self.packed.prepare(images, n_img, self.tau, rules)

    def scores(
        self,
        engine: Engine[Rows, Values, Groups],
        images: Rows,
        rules: Rules[Values],
        progress: Progress = None,
    ) -> Values:
        assert self.tau is not None
        return self.packed.reduce(engine, images, self.tau, rules, progress)

    def lists(
        self,
        engine: Engine[Rows, Values, Groups],
        images: Rows,
        rules: Rules[Values],
        dtype: type[np.generic],
        progress: Progress = None,
    ) -> Find:
        """The texts that count for each image, in CPU memory."""
        packed: Any = self.packed
        return packed.lists(engine, images, self.tau, rules, dtype, progress)  # type: ignore[no-any-return]

    def counts(self, engine: Engine[Rows, Values, Groups], images: Rows, rules: Rules[Values]) -> Any:
        """How many texts count for each image, in CPU memory."""
        packed: Any = self.packed
        return packed.counts(engine, images, self.tau, rules)

    # ---- What is said ------------------------------------------------------------------------------------------------

    def has_many_pairs(self, images: Rows) -> bool:
        """To judge a margin by."""
        return images.shape[0] * self.settings.n_used >= SAMPLED_FROM

    def warn_if_wide(self, engine: Engine[Rows, Values, Groups], images: Rows, verbose: object) -> bool:
        """Whether there were pairs enough to judge the margin; warns where over half of a sample qualify."""
        if not self.has_many_pairs(images):
            return False
        if self.packed.may_be_wide() and engine.may_wait(verbose):
            share = judge_margin(self._sample(engine, images))
            self.packed.share = max(share, self.packed.share)
        return True

    def warn_if_none(self, images: Rows, scores: Any) -> None:
        """Warns where no pair counts though there were enough to expect some."""
        if not scores.any() and self.has_many_pairs(images):
            warn_if_too_small(self._sample(self.engine, images))

    def _sample(self, engine: Engine[Rows, Values, Groups], images: Rows) -> Sample:
        """Some images and texts, and what decides which of their pairs count."""
        assert self.tau is not None
        of_images, of_texts = steps(images.shape[0], self.settings.n_used)
        return Sample(
            *engine.sample(images, of_images), *engine.sample(self.txt, of_texts), engine.sampled(self.tau, of_texts),
            None if self.limits is None else engine.sampled(self.limits, of_texts), self.settings.margin,
            self.settings.request.similarity,
        )  # fmt: skip

    def log(self, engine: Engine[Rows, Values, Groups], n_img: int, verbose: object, rule: Rule | None = None) -> None:
        """Says what was decided; of a call with that rule."""
        if not (verbose or _LOG.isEnabledFor(logging.INFO)):
            return
        n_txt, dim = self.txt.shape
        line = (
            f"method={self.packed.method}, {self.packed.where(engine)}: {n_img} images x {n_txt} texts, dim {dim}, "
            f"{self.packed.nbytes / 2**20:.1f} MiB of packed texts{self.packed.why()}"
        )
        if self.packed.share > _LARGE_SHARE:
            line += (
                f"; about {self.packed.share:.0%} of the pairs count, where 0.1 to 1 % tell images apart: a smaller "
                "margin would"
            )
        if rule is not None and rule.of_best_match:
            line += (
                "; reference='pool_max': each text's best match in this pool, not its own image, which owner or a "
                "reference array would give"
            )
        _LOG.info(line)
        if verbose:
            print(f"hnscore: {line}")

    # ---- On the way to another process -------------------------------------------------------------------------------

    def __getstate__(self) -> dict[str, Any]:
        engine = self.engine.again(None)
        with self.packed.read_on(engine):
            return engine.exported(self.__dict__)  # type: ignore[no-any-return]

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state["engine"].imported(state))
