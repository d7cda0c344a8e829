"""`mindalle eval`: the measuring is `models.measure`'s; with `--url` a running service draws.

Through the service it is a bulk run for each model, setting and seed: bounded, at the lowest
priority, taken up again where it was. Of the models there nothing but their pictures is measured.
"""

from __future__ import annotations

import asyncio
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from dataclasses import dataclass, replace

import httpx

from models.configs.prior import Prompt
from models.measure import eval as evaluation
from models.measure.captions import prompts_for
from models.measure.drawer import Setting
from models.measure.drawings import Ask, Drawings
from service.answers.model_answers import ModelAnswer
from service.cli import CommandError
from service.client import ApiError, AsyncClient
from service.client.manifest import Entry
from service.client.problems import problem
from service.client.protocol import Parameters
from service.commands import bulk
from service.jobs import MAX_SEED


def add_arguments(parser: ArgumentParser) -> None:
    """Those of the measuring, and through what to draw."""
    evaluation.add_arguments(parser)
    group = parser.add_argument_group("through a running service")
    group.add_argument("--url", help="let the service there draw (default: draw here)")
    bulk.add_ways(group)


def run(args: Namespace) -> int:
    """Draw here or there, measure, write the report."""
    if args.url is None and args.api_key is not None:
        raise CommandError("--api-key is for the service that --url names; give that, too", 2)
    if args.url is None:
        return evaluation.run(args)
    if args.checkpoint is not None or set(args.tables or ()).intersection(evaluation.OF_MODELS):
        tables = ", ".join(evaluation.OF_MODELS)
        raise CommandError(f"--url: a model there has no folder here, and no {tables}", 2)
    if args.prompts is None:
        raise CommandError("--url: give what is to be drawn there, --prompts FILE", 2)
    evaluation.fill(args)
    served = {model.id: model for model in asyncio.run(_models(args))}
    if unknown := [name for name in args.models if name not in served]:
        raise CommandError(f"{args.url} serves no {unknown[0]}; it has {', '.join(served)}", 2)
    return evaluation.run(args, [Fleet(args, served[name]) for name in args.models])


async def _models(args: Namespace) -> list[ModelAnswer]:
    """What is served; where no worker is up, as in a fleet that scales from zero, it is awaited."""
    try:
        async with AsyncClient(args.url, args.api_key) as client:
            for _ in range(args.patience):
                if models := await client.models():
                    return models
                await asyncio.sleep(1.0)
            return []
    except (ApiError, httpx.HTTPError, ValueError) as error:
        raise problem(error, args.url) from None


@dataclass(frozen=True, slots=True)
class Fleet:
    """The `Artist` that is whoever serves a model behind an address."""

    args: Namespace
    model: ModelAnswer

    @property
    def name(self) -> str:
        return self.model.id

    @property
    def digest(self) -> str:
        return self.model.weights_digest

    @property
    def max_seed(self) -> int:
        return MAX_SEED - 1

    def prompts(self, given: Sequence[str]) -> list[Prompt]:
        """See `Artist`."""
        return prompts_for(self.model.prompt_kind, self.model.num_classes, given)

    def fitting(self, setting: Setting) -> Setting:
        """See `Artist`: a job gives so many images and draws so many candidates at most."""
        limits = self.model.limits
        if setting.num_candidates > limits.max_candidates:
            raise CommandError(
                f"--candidates: {self.name} draws {limits.max_candidates} at most", 2
            )
        return replace(setting, keep=min(setting.keep, limits.max_images))

    def draw(self, drawings: Drawings, asks: Sequence[Ask], setting: Setting) -> None:
        """See `Artist`."""
        parameters = self._parameters(setting)
        entries = [Entry(a.name, a.prompt, {**parameters, "seed": a.seed}) for a in asks]
        bulk.bring_in(self.args, drawings.folder, entries)

    def _parameters(self, setting: Setting) -> Parameters:
        parameters: Parameters = {
            "model": self.name,
            "n": min(setting.keep, setting.num_candidates),
            "num_candidates": setting.num_candidates,
            "priority": "low",
            "deadline_s": self.args.deadline,
        }
        if setting.temperature is not None:
            parameters["temperature"] = setting.temperature
        # Where the model filters by itself, no filter is one that lets everything through.
        defaults, limits = self.model.defaults, self.model.limits
        if setting.top_k or (setting.top_k is not None and defaults.top_k is not None):
            parameters["top_k"] = setting.top_k or limits.max_top_k
        if setting.top_p or (setting.top_p is not None and defaults.top_p is not None):
            parameters["top_p"] = setting.top_p or 1.0
        return parameters
