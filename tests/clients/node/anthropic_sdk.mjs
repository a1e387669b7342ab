// Anthropic's SDK: Messages.
import Anthropic from '@anthropic-ai/sdk';
import { CLAUDE, expect, KEY, lookedUp, main, QUESTION, ROOT, SCHEMA, task, TOOL_QUESTION } from './checks.mjs';

const client = new Anthropic({ baseURL: ROOT, apiKey: KEY, maxRetries: 0 });
const tool = { name: 'look_up', description: 'Look a number up.', input_schema: SCHEMA };
const ask = (content, more = {}) => client.messages.create({ model: CLAUDE, max_tokens: 500, messages: [{ role: 'user', content }], ...more });

await main({
  messages_plain: async () => expect((await ask(QUESTION)).content[0].text.includes('Paris'), 'Paris'),
  messages_stream: async () => {
    const stream = client.messages.stream({ model: CLAUDE, max_tokens: 500, messages: [{ role: 'user', content: QUESTION }] });
    let text = '';
    stream.on('text', (part) => (text += part));
    expect((await stream.finalMessage()).content[0].text === text && text.includes('Paris'), text);
  },
  messages_tools: async () => {
    const said = await ask(TOOL_QUESTION, { tools: [tool] });
    expect(said.content.find((one) => one.type === 'tool_use').input.number === 1, 'number 1');
  },
  messages_error: async () => {
    try {
      await ask(QUESTION, { model: 'no-such-model' });
    } catch (error) {
      expect(error instanceof Anthropic.NotFoundError, error);
      return error.error?.error?.type;
    }
    throw new Error('no error');
  },
  count_tokens: async () => expect((await client.messages.countTokens({ model: CLAUDE, messages: [{ role: 'user', content: QUESTION }] })).input_tokens > 5, 'count'),
  messages_loop: async () => {
    const messages = [{ role: 'user', content: task('nodemessages') }];
    for (let turn = 0; turn < 30; turn++) {
      const said = await client.messages.create({ model: CLAUDE, max_tokens: 500, messages, tools: [tool] });
      messages.push({ role: 'assistant', content: said.content });
      const calls = said.content.filter((one) => one.type === 'tool_use');
      if (!calls.length) return expect(said.content[0].text.includes('heron'), said.content[0].text);
      messages.push({ role: 'user', content: calls.map((one) => ({ type: 'tool_result', tool_use_id: one.id, content: lookedUp(one.input.number) })) });
    }
    throw new Error('no end');
  },
});
