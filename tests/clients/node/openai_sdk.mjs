// OpenAI's SDK: chat completions and Responses.
import OpenAI from 'openai';
import { expect, KEY, lookedUp, main, MODEL, QUESTION, ROOT, SCHEMA, task, TOOL_QUESTION } from './checks.mjs';

const client = new OpenAI({ baseURL: `${ROOT}/v1`, apiKey: KEY, maxRetries: 0 });
const chatTool = { type: 'function', function: { name: 'look_up', parameters: SCHEMA } };
const tool = { type: 'function', name: 'look_up', parameters: SCHEMA, strict: false };
const ask = (content, more = {}) => client.chat.completions.create({ model: MODEL, messages: [{ role: 'user', content }], ...more });

async function refused(make) {
  try {
    await make();
  } catch (error) {
    expect(error instanceof OpenAI.NotFoundError, error);
    return error.code;
  }
  throw new Error('no error');
}

await main({
  chat_plain: async () => expect((await ask(QUESTION)).choices[0].message.content.includes('Paris'), 'Paris'),
  chat_stream: async () => {
    let text = '';
    for await (const one of await ask(QUESTION, { stream: true })) text += one.choices[0]?.delta?.content ?? '';
    expect(text.includes('Paris'), text);
  },
  chat_tools: async () => {
    const said = (await ask(TOOL_QUESTION, { tools: [chatTool] })).choices[0].message;
    expect(JSON.parse(said.tool_calls[0].function.arguments).number === 1, 'number 1');
  },
  chat_error: () => refused(() => ask(QUESTION, { model: 'no-such-model' })),
  chat_loop: async () => {
    const messages = [{ role: 'user', content: task('nodechat') }];
    for (let turn = 0; turn < 30; turn++) {
      const said = (await client.chat.completions.create({ model: MODEL, messages, tools: [chatTool] })).choices[0].message;
      messages.push(said);
      if (!said.tool_calls) return expect(said.content.includes('heron'), said.content);
      for (const call of said.tool_calls)
        messages.push({ role: 'tool', tool_call_id: call.id, content: lookedUp(JSON.parse(call.function.arguments).number) });
    }
    throw new Error('no end');
  },
  responses_plain: async () => expect((await client.responses.create({ model: MODEL, input: QUESTION })).output_text.includes('Paris'), 'Paris'),
  responses_stream: async () => {
    const stream = client.responses.stream({ model: MODEL, input: QUESTION });
    let text = '';
    for await (const one of stream) if (one.type === 'response.output_text.delta') text += one.delta;
    expect(text.includes('Paris') && (await stream.finalResponse()).output_text === text, text);
  },
  responses_tools: async () => {
    const said = await client.responses.create({ model: MODEL, input: TOOL_QUESTION, tools: [tool] });
    expect(JSON.parse(said.output.find((one) => one.type === 'function_call').arguments).number === 1, 'number 1');
  },
  responses_error: () => refused(() => client.responses.create({ model: 'no-such-model', input: QUESTION })),
  responses_loop: async () => {
    const input = [{ role: 'user', content: task('noderesponses') }];
    for (let turn = 0; turn < 30; turn++) {
      const said = await client.responses.create({ model: MODEL, input, tools: [tool], store: false });
      input.push(...said.output);
      const calls = said.output.filter((one) => one.type === 'function_call');
      if (!calls.length) return expect(said.output_text.includes('heron'), said.output_text);
      for (const call of calls)
        input.push({ type: 'function_call_output', call_id: call.call_id, output: lookedUp(JSON.parse(call.arguments).number) });
    }
    throw new Error('no end');
  },
});
