"""A grounder that vLLM runs in this process (`engine=vllm`)."""

from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image

from configs.errors import UserError
from models.config import GrounderConfig
from models.grounder.chat_template import is_thinking
from models.grounder.loading import load_processor
from models.grounder.questions import QuestionEncoder
from models.grounder.second_look import second_look_of
from models.identity import checkpoint_identity
from models.serving.chat_format import TOP_LOGPROBS, Chat
from models.serving.free_answers import Generated, GeneratedToken
from models.serving.free_grounder import FreeGrounder
from models.serving.server import MAX_TOKENS

IMAGES = 2  # most images of a question: template and search frame


class VllmGenerator:
    """Generates answers with `vllm.LLM`.

    `num_retries` is always 0, because there is no request that could be repeated.
    """

    num_retries = 0

    def __init__(self, llm: Any, sampling: Any, template_settings: Mapping[str, Any] | None) -> None:
        """`llm` is a `vllm.LLM`, `sampling` its `SamplingParams`, and `template_settings` are passed to the
        chat template.
        """
        self.llm, self.sampling, self.template_settings = llm, sampling, template_settings

    def generate(self, chats: Sequence[Chat]) -> list[Generated]:
        """The answers to chats, in their order, by greedy decoding."""
        outputs = self.llm.chat(
            [_conversation(chat) for chat in chats],
            self.sampling,
            use_tqdm=False,
            chat_template_kwargs=self.template_settings,
        )
        return [_generated(output) for output in outputs]


class VllmGrounder(FreeGrounder):
    """Weights that vLLM loads into this process; implements `models.interfaces.Grounding`."""

    def __init__(self, config: GrounderConfig, **options: Any) -> None:
        """`options` are further arguments of `vllm.LLM`.

        Raises UserError where the processor or the contract cannot be loaded, and where vLLM cannot load the
        weights.
        """
        from vllm import LLM, SamplingParams

        _, processor, contract = load_processor(config)
        named = f"model={config.checkpoint}"
        try:
            llm = LLM(
                model=config.checkpoint,
                dtype=config.dtype,
                trust_remote_code=False,
                limit_mm_per_prompt={"image": IMAGES},
                **options,
            )
        except (RuntimeError, ValueError, OSError) as fault:
            reason = " ".join(str(fault).split())[:300]
            raise UserError(f"{named}: vLLM cannot load it ({reason})") from None
        # Given here, so that nothing is taken from the generation_config.json of the checkpoint.
        sampling = SamplingParams(
            temperature=0.0, max_tokens=MAX_TOKENS + contract.thinking, logprobs=TOP_LOGPROBS
        )
        reads_thinking = "enable_thinking" in str(processor.chat_template)
        settings = {"enable_thinking": is_thinking(contract)} if reads_thinking else None
        identity = {
            "checkpoint": checkpoint_identity(config.checkpoint),
            "dtype": config.dtype,
            "backend": "vllm",
        }
        super().__init__(
            QuestionEncoder(processor, contract),
            VllmGenerator(llm, sampling, settings),
            named,
            identity,
            config.box_threshold,
            second_look_of(config.second_look, contract),
        )


def _conversation(chat: Chat) -> list[dict[str, Any]]:
    """The messages of a chat with its images in the places of their placeholders."""
    images = iter(chat.images)

    def part(content: dict[str, Any]) -> dict[str, Any]:
        if content["type"] != "image":
            return content
        return {"type": "image_pil", "image_pil": Image.fromarray(next(images))}

    return [{**turn, "content": [part(content) for content in turn["content"]]} for turn in chat.messages]


def _generated(output: Any) -> Generated:
    """The answer in a `RequestOutput` of vLLM."""
    (completion,) = output.outputs
    tokens = tuple(
        _token(options, token)
        for token, options in zip(completion.token_ids, completion.logprobs, strict=True)
    )
    return Generated(completion.text, tokens, len(output.prompt_token_ids))


def _token(options: Mapping[int, Any], chosen: int) -> GeneratedToken:
    """A token of an answer; `options` are the `Logprob`s of vLLM by token ids, the chosen one among them."""
    texts = {index: str(option.decoded_token or "").encode() for index, option in options.items()}
    return GeneratedToken(
        texts[chosen],
        float(options[chosen].logprob),
        {texts[index]: float(option.logprob) for index, option in options.items()},
    )
