"""The providers' hosts and the base paths of their APIs: which connections are worth decrypting, and what an upstream
that is given as an origin alone stands for.

A test holds both tables against the providers' documented URLs (tests/keys/provider_urls.toml).
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from computer_use_cache import setting_values
from computer_use_cache.setting_values import BaseUrl

KNOWN_HOSTS = (
    # makers of models
    *("api.openai.com", "*.api.openai.com", "api.anthropic.com", "generativelanguage.googleapis.com"),
    *("api.mistral.ai", "codestral.mistral.ai", "api.x.ai", "*.api.x.ai", "api.deepseek.com", "api.perplexity.ai"),
    *("api.cohere.com", "api.cohere.ai", "api.ai21.com", "api.voyageai.com", "api.jina.ai", "api.reka.ai"),
    *("api.inceptionlabs.ai", "api.arcee.ai", "api.upstage.ai", "api.writer.com", "api.meta.ai", "api.llama.com"),
    *("api.morphllm.com", "api.cursor.com", "api.sarvam.ai", "api.xiaomimimo.com"),
    *("api.moonshot.ai", "api.moonshot.cn", "api.kimi.com", "api.z.ai", "open.bigmodel.cn", "api.stepfun.com"),
    *("api.minimax.io", "api.minimax.chat", "api.minimaxi.com", "api.baichuan-ai.com", "api.lingyiwanwu.com"),
    # clouds
    *("aiplatform.googleapis.com", "*-aiplatform.googleapis.com", "aiplatform.*.rep.googleapis.com"),
    *("bedrock-runtime.*.amazonaws.com", "bedrock-runtime-fips.*.amazonaws.com", "bedrock-mantle.*.api.aws"),
    *("*.openai.azure.com", "*.services.ai.azure.com", "*.cognitiveservices.azure.com", "*.azure-api.net"),
    *("*.models.ai.azure.com", "*.inference.ai.azure.com", "models.github.ai"),
    *("*.cloud.databricks.com", "*.azuredatabricks.net", "*.gcp.databricks.com", "*.snowflakecomputing.com"),
    *("dashscope.aliyuncs.com", "dashscope-*.aliyuncs.com", "ark.*.volces.com", "ark.*.bytepluses.com"),
    *("qianfan.baidubce.com", "api.hunyuan.cloud.tencent.com", "integrate.api.nvidia.com", "ai.api.nvidia.com"),
    *("oai.endpoints.kepler.ai.cloud.ovh.net", "api.scaleway.ai", "openai.inference.*.ionos.com"),
    *("inference.do-ai.run", "*.inference.heroku.com", "*.ml.cloud.ibm.com"),
    # hosts of open models
    *("api.groq.com", "api.together.xyz", "api.together.ai", "api.fireworks.ai", "api.cerebras.ai", "ollama.com"),
    *("router.huggingface.co", "api-inference.huggingface.co", "*.endpoints.huggingface.cloud", "api.novita.ai"),
    *("api.deepinfra.com", "api.sambanova.ai", "api.hyperbolic.xyz", "api.studio.nebius.ai", "api.studio.nebius.com"),
    *("api.tokenfactory.nebius.com", "inference.baseten.co", "*.api.baseten.co", "api.siliconflow.cn"),
    *("api.siliconflow.com", "api.avian.io", "llm.chutes.ai", "api.featherless.ai", "api.friendli.ai"),
    *("api.lambda.ai", "api.publicai.co", "inference.api.nscale.com", "api.doubleword.ai", "*.modal.run"),
    *("*.modal.direct", "api.inference.net", "api.parasail.io", "api-inference.modelscope.cn"),
    *("api.synthetic.new", "api.v0.dev", "api.vultrinference.com", "api.clarifai.com"),
    *("api.intelligence.io.solutions", "api.gmi-serving.com", "api.berget.ai", "api.ppinfra.com"),
    # gateways
    *("openrouter.ai", "api.openrouter.ai", "ai-gateway.vercel.sh", "gateway.ai.cloudflare.com", "opencode.ai"),
    *("api.cloudflare.com", "api.portkey.ai", "*.helicone.ai", "router.requesty.ai", "api.aimlapi.com"),
    *("api.poe.com", "llm.wandb.ai", "api.inference.wandb.ai", "api.venice.ai", "api.kilo.ai"),
    *("api.quicksilverpro.io", "api.typesafe.ai"),
    *("api.llmgateway.io", "api.braintrust.dev", "nano-gpt.com", "aihubmix.com", "api.302.ai", "zenmux.ai"),
    *("go.fastrouter.ai", "routellm.abacus.ai", "api.cortecs.ai", "gen.pollinations.ai", "api.cometapi.com"),
    # subscriptions
    *("chatgpt.com", "api.githubcopilot.com", "api.*.githubcopilot.com", "copilot-api.*.ghe.com"),
    *("*cloudcode-pa.googleapis.com", "*cloudcode-pa.sandbox.googleapis.com"),
)
"""Shell patterns of the hosts that are cached when they are intercepted."""

_BASE_PATHS = {
    "api.groq.com": "/openai/v1",
    "api.fireworks.ai": "/inference/v1",
    "openrouter.ai": "/api/v1",
    "dashscope.aliyuncs.com": "/compatible-mode/v1",
    "dashscope-*.aliyuncs.com": "/compatible-mode/v1",
    "api.z.ai": "/api/paas/v4",
    "open.bigmodel.cn": "/api/paas/v4",
    "ark.*.volces.com": "/api/v3",
    "qianfan.baidubce.com": "/v2",
    "api.deepinfra.com": "/v1/openai",
    "models.github.ai": "/inference",
    "*.databricks.com": "/serving-endpoints",
    "*.azuredatabricks.net": "/serving-endpoints",
    "opencode.ai": "/zen/v1",
    **dict.fromkeys(
        ("api.openai.com", "*.api.openai.com", "api.anthropic.com", "api.mistral.ai", "api.x.ai", "api.together.*"),
        "/v1",
    ),
}
"""Where the API lies on a provider's origin. On an origin that is not named here, every path stays as the client wrote
it."""


def base_path(origin: str) -> str | None:
    """The path of the API on a provider's origin, None if it is not known."""
    host = origin.partition("://")[2]
    return next((path for pattern, path in _BASE_PATHS.items() if fnmatch.fnmatchcase(host, pattern)), None)


def base_url(text: str) -> BaseUrl:
    """The base URL that a setting names: an origin alone stands for the API that is known to lie there."""
    given = BaseUrl.parse(text)
    return given if given.path else BaseUrl(given.origin, base_path(given.origin) or "")


@dataclass(frozen=True)
class Hosts:
    """The hosts that are cached when they are intercepted. Shell patterns; the case of letters does not matter."""

    included: tuple[str, ...]
    excluded: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Hosts:
        """Read a list that replaces the known hosts, or one of `+host` and `-host` that changes it; "" changes nothing.
        Raises ValueError if it is a mixture."""
        items = setting_values.items(text)
        added = tuple(item[1:] for item in items if item.startswith("+"))
        taken = tuple(item[1:] for item in items if item.startswith("-"))
        if not added and not taken:
            return cls(items or KNOWN_HOSTS)
        if len(added) + len(taken) < len(items) or not all((*added, *taken)):
            raise ValueError("either hosts, which replace the known ones, or +host and -host, which add and take away")
        return cls((*KNOWN_HOSTS, *added), taken)

    def __contains__(self, host: str) -> bool:
        return bool(self._pattern.fullmatch(host.lower()))

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        """One pattern: every connection and every request is asked for."""
        excluded = f"(?!{_any_of(self.excluded)})" if self.excluded else ""
        return re.compile(excluded + f"(?:{_any_of(self.included)})")


def _any_of(patterns: Iterable[str]) -> str:
    return "|".join(fnmatch.translate(pattern.lower()) for pattern in patterns)
