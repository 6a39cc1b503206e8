"""PyPI openai against a server: python3 openai_client.py BASE_URL API_KEY prints one JSON object, an entry a call.

It needs the packages of tools/pins.json ("openai") in PYTHONPATH. What the entries must be is in
tests/server_python_client_test.ts.
"""

import asyncio
import json
import sys

import openai
from openai import AsyncOpenAI, OpenAI
from pydantic import BaseModel, Field

BASE_URL, API_KEY = sys.argv[1:]
MESSAGES = [{"role": "user", "content": "the rain in the end"}]
GREEDY = {"model": "tiny", "temperature": 0, "extra_body": {"ignore_eos": True}}
WILD = {"model": "tiny", "temperature": 1.2, "seed": 5}


class Person(BaseModel):
    name: str = Field(max_length=8)
    age: int = Field(ge=0, le=120)
    tags: list[str] = Field(max_length=2)


class Weather(BaseModel):
    city: str = Field(max_length=6)
    days: int = Field(ge=1, le=9)


client = OpenAI(base_url=BASE_URL, api_key=API_KEY, max_retries=0)
calls = {}


def call(function):
    calls[function.__name__] = function


@call
def models():
    return [model.id for model in client.models.list()]


@call
def create():
    answer = client.chat.completions.create(messages=MESSAGES, max_tokens=12, logprobs=True, top_logprobs=2, **GREEDY)
    choice = answer.choices[0]
    return {
        "type": type(answer).__name__,
        "text": choice.message.content,
        "finish": choice.finish_reason,
        "tokens": answer.usage.completion_tokens,
        "logprobs": [len(one.top_logprobs) for one in choice.logprobs.content],
    }


@call
def stream():
    text, usage = "", None
    for chunk in client.chat.completions.create(
        messages=MESSAGES, max_tokens=12, stream=True, stream_options={"include_usage": True}, **GREEDY
    ):
        text += "".join(choice.delta.content or "" for choice in chunk.choices)
        usage = chunk.usage or usage
    return {"text": text, "tokens": usage.completion_tokens}


@call
def stream_helper():
    with client.chat.completions.stream(messages=MESSAGES, max_tokens=12, **GREEDY) as events:
        deltas = "".join(event.delta for event in events if event.type == "content.delta")
        try:
            events.get_final_completion()
        except openai.LengthFinishReasonError as error:  # it was cut off, and the helper insists on saying so
            return {"deltas": deltas, "text": error.completion.choices[0].message.content}


@call
def parse():
    answer = client.chat.completions.parse(messages=MESSAGES, response_format=Person, max_tokens=600, **WILD)
    parsed = answer.choices[0].message.parsed
    return {"type": type(parsed).__name__, "fields": sorted(type(parsed).model_fields), "age": parsed.age}


@call
def tools():
    answer = client.chat.completions.parse(
        messages=MESSAGES, tools=[openai.pydantic_function_tool(Weather, name="weather")], tool_choice="required",
        parallel_tool_calls=False, max_tokens=600, **WILD
    )
    [choice] = answer.choices
    [one] = choice.message.tool_calls
    result = {"role": "tool", "tool_call_id": one.id, "content": "rain"}
    said = {"role": "assistant", "tool_calls": [{"id": one.id, "type": "function", "function": {
        "name": one.function.name, "arguments": one.function.arguments}}]}
    after = client.chat.completions.create(messages=[*MESSAGES, said, result], max_tokens=5, **GREEDY)
    days = one.function.parsed_arguments.days
    return {"name": one.function.name, "finish": choice.finish_reason, "days": days,
            "after": after.choices[0].finish_reason}


@call
def responses():
    answer = client.responses.create(
        model="tiny", input="the rain in the end", temperature=0, max_output_tokens=12, extra_body={"ignore_eos": True}
    )
    types, text = [], ""
    with client.responses.stream(
        model="tiny", input="the rain in the end", temperature=0, max_output_tokens=12, extra_body={"ignore_eos": True}
    ) as events:
        for event in events:
            types.append(event.type)
            text += event.delta if event.type == "response.output_text.delta" else ""
    parsed = client.responses.parse(
        model="tiny", input="who?", text_format=Person, temperature=1.2, max_output_tokens=600, extra_body={"seed": 5}
    )
    return {"text": answer.output_text, "status": answer.status, "streamed": text, "first": types[0],
            "last": types[-1], "parsed": type(parsed.output_parsed).__name__}


@call
def completions():
    prompt = "the rain in the end"
    whole = client.completions.create(prompt=prompt, max_tokens=4, **GREEDY)
    scored = client.completions.create(prompt=prompt, max_tokens=0, echo=True, logprobs=1, **GREEDY)
    pieces = client.completions.create(prompt=prompt, max_tokens=4, stream=True, **GREEDY)
    lists = scored.choices[0].logprobs
    return {"text": whole.choices[0].text, "streamed": "".join(chunk.choices[0].text for chunk in pieces),
            "echo": scored.choices[0].text, "logprobs": lists.token_logprobs, "offsets": lists.text_offset}


@call
def concurrent():
    async def run():
        async with AsyncOpenAI(base_url=BASE_URL, api_key=API_KEY, max_retries=0) as many:
            one = lambda: many.chat.completions.create(messages=MESSAGES, max_tokens=12, **GREEDY)
            answers = await asyncio.gather(*[one() for _ in range(8)])
            stream = await many.chat.completions.create(messages=MESSAGES, max_tokens=500, stream=True, **GREEDY)
            async for _chunk in stream:
                break
            await stream.close()
            return [answer.choices[0].message.content for answer in answers]

    return asyncio.run(run())


def refusal(**changes):
    key = changes.pop("api_key", API_KEY)
    request = {"messages": MESSAGES, "max_tokens": 3, "model": "tiny", **changes}
    try:
        OpenAI(base_url=BASE_URL, api_key=key, max_retries=0).chat.completions.create(**request)
    except openai.APIStatusError as error:
        return [type(error).__name__, error.status_code, error.code, error.param, bool(error.request_id)]
    except openai.APIError as error:
        return [type(error).__name__, error.code]


@call
def errors():
    failing = client.chat.completions.create(messages=MESSAGES, model="breaks", stream=True)
    try:
        in_stream = [chunk.id for chunk in failing]
    except openai.APIError as error:
        in_stream = [type(error).__name__, error.code]
    return {
        "key": refusal(api_key="wrong"),
        "model": refusal(model="other"),
        "value": refusal(temperature=-1),
        "unknown": refusal(extra_body={"no_such": 1}),
        "large": refusal(messages=[{"role": "user", "content": "x" * 40_000}]),
        "template": refusal(model="mute"),
        "server": refusal(model="breaks"),
        "stream": in_stream,
    }


json.dump({name: function() for name, function in calls.items()}, sys.stdout)
