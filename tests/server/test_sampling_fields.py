"""vLLM's fields beside OpenAI's reach the model, and what asks for nothing changes nothing."""

from __future__ import annotations

import threading

import openai
import pytest
from support.scripted_model import scripted_model, texts_of
from support.served import serving, serving_rig, start, wait_until

from pagednb.llm import LLM
from pagednb.sampling_params import SamplingParams

TEXT = "Ticket: my parcel never came"
CHAT = [{"role": "user", "content": "What can pagednb do?"}]
SAME_NAMES = [
    {"top_k": 3, "seed": 4},
    {"min_p": 0.3, "seed": 4},
    {"repetition_penalty": 1.5, "temperature": 0},
    {"bad_words": ["parcel", "order"], "temperature": 0},
    {"allowed_token_ids": list(range(300, 330)), "seed": 5},
    {"min_tokens": 12, "temperature": 0},
    {"stop": ["a"], "include_stop_str_in_output": True, "temperature": 0},
    {"ignore_eos": True, "temperature": 0},
    {"best_of": 4, "n": 2, "seed": 9},
]


@pytest.mark.parametrize("fields", SAME_NAMES, ids=lambda fields: next(iter(fields)))
def test_a_field_means_what_it_means_offline(client: openai.OpenAI, embedded: LLM, fields: dict) -> None:
    (offline,) = embedded.generate(TEXT, SamplingParams(max_tokens=14, **fields), use_tqdm=False)
    texts = [completion.text for completion in offline.outputs]
    answer = client.completions.create(model="m", prompt=TEXT, max_tokens=14, extra_body=fields)
    assert [choice.text for choice in answer.choices] == texts
    (offline,) = embedded.chat(CHAT, SamplingParams(max_tokens=14, **fields), use_tqdm=False)
    chat = client.chat.completions.create(model="m", messages=CHAT, max_tokens=14, extra_body=fields)
    assert [choice.message.content for choice in chat.choices] == [completion.text for completion in offline.outputs]


def test_a_stop_token_and_special_tokens(client: openai.OpenAI, embedded: LLM) -> None:
    (offline,) = embedded.generate(TEXT, SamplingParams(max_tokens=8, temperature=0), use_tqdm=False)
    token_id = offline.outputs[0].token_ids[3]
    options = {"model": "m", "prompt": TEXT, "max_tokens": 8, "temperature": 0}
    answer = client.completions.create(**options, extra_body={"stop_token_ids": [token_id]})
    assert (answer.choices[0].finish_reason, answer.choices[0].stop_reason) == ("stop", token_id)
    bias = {str(embedded.engine.resolved.eos_token_ids[0]): 100}
    extra = {"ignore_eos": True, "skip_special_tokens": False}
    shown = client.completions.create(**options, logit_bias=bias, extra_body=extra).choices[0].text
    hidden = client.completions.create(**options, logit_bias=bias, extra_body={"ignore_eos": True}).choices[0].text
    assert len(shown) > len(hidden)


@pytest.mark.parametrize(
    ("constraint", "expected"),
    [
        ({"structured_outputs": {"choice": ["billing"]}}, "billing"),
        ({"structured_outputs": {"regex": "b{3}"}}, "bbb"),
        ({"structured_outputs": {"json": {"const": 7}}}, "7"),
        ({"structured_outputs": {"grammar": 'start: "yes"'}}, "yes"),
        ({"guided_regex": "c{2}"}, "cc"),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"const": 9}}}}, "9"),
        ({"guided_json": '{"const": 8}'}, "8"),
        ({"guided_grammar": 'start: "no"', "guided_decoding_backend": "auto"}, "no"),
    ],
)
def test_constraints_under_vllms_names(client: openai.OpenAI, constraint: dict, expected: str) -> None:
    answer = client.completions.create(model="m", prompt=TEXT, max_tokens=20, extra_body=constraint)
    assert answer.choices[0].text == expected
    chat = client.chat.completions.create(model="m", messages=CHAT, max_tokens=20, extra_body=constraint)
    assert chat.choices[0].message.content == expected


def test_a_constraint_that_leaves_no_token_is_no_fault_of_the_server(client: openai.OpenAI) -> None:
    extra = {"guided_choice": ["yes"], "allowed_token_ids": [9]}
    with pytest.raises(openai.BadRequestError, match="The answer cannot go on"):
        client.completions.create(model="m", prompt=TEXT, extra_body=extra)


def test_any_object(client: openai.OpenAI) -> None:
    extra = {"structured_outputs": {"json_object": True}}
    answer = client.completions.create(model="m", prompt=TEXT, max_tokens=20, extra_body=extra)
    assert answer.choices[0].text.startswith("{")


def test_values_that_ask_for_nothing_change_nothing(client: openai.OpenAI) -> None:
    habits = {
        "suffix": None,
        "modalities": ["text"],
        "use_beam_search": False,
        "length_penalty": 1.0,
        "echo": False,
        "reasoning_effort": None,
        "functions": [],
        "function_call": "none",
        "chat_template": None,
        "include_reasoning": True,
        "spaces_between_special_tokens": True,
        "kv_transfer_params": None,
        "prediction": None,
    }
    options = {"model": "m", "messages": CHAT, "temperature": 0, "max_tokens": 6}
    plain = client.chat.completions.create(**options).choices[0].message.content
    assert client.chat.completions.create(**options, extra_body=habits).choices[0].message.content == plain


def test_lower_priorities_run_first() -> None:
    with serving_rig({"max_num_seqs": 1}) as (client, engine, executor):
        may_go_on, seeds = threading.Event(), []
        executor.before_step = lambda: may_go_on.wait(20)
        execute = executor.execute

        def note_seeds(plan):
            seeds.extend(admission.seed for admission in plan.admissions)
            return execute(plan)

        executor.execute = note_seeds

        def ask(seed: int, priority: int) -> None:
            client.post("/v1/completions", json={"prompt": [5], "max_tokens": 3, "seed": seed, "priority": priority})

        threads = [threading.Thread(target=ask, args=each) for each in ((1, 0), (2, 5), (3, -5), (4, 9))]
        threads[0].start()
        wait_until(lambda: executor.num_steps > 0)
        for thread in threads[1:]:
            thread.start()
        wait_until(lambda: engine._loop._commands.qsize() == 3)
        may_go_on.set()
        for thread in threads:
            thread.join()
    assert seeds == [1, 3, 2, 4]


def test_the_last_message_is_gone_on_with() -> None:
    template = (
        "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% if not loop.last %}|{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}[assistant]{% endif %}"
    )
    engine, executor = scripted_model(" is red.", chat_template=template)
    server = start(engine)
    messages = [*CHAT, {"role": "assistant", "content": "The leaf"}]
    extra = {"continue_final_message": True, "add_generation_prompt": False}
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none") as client:
        answer = client.chat.completions.create(model="m", messages=messages, extra_body=extra)
    server.stop()
    engine.shutdown()
    assert answer.choices[0].message.content == " is red."
    assert texts_of(executor)[0].endswith("[assistant]The leaf")


def test_an_effort_reaches_templates_that_read_it() -> None:
    template = "{{ reasoning_effort }}{% for m in messages %}{{ m.content }}{% endfor %}"
    engine, executor = scripted_model("Yes.", chat_template=template)
    server = start(engine)
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none") as client:
        client.chat.completions.create(model="m", messages=CHAT, reasoning_effort="low")
    server.stop()
    engine.shutdown()
    assert texts_of(executor)[0].startswith("low")


def test_health_answers_probes_that_want_no_body() -> None:
    with serving(api_key="k") as (client, _):
        assert client.head("/health").status_code == 200
