// Vercel's SDK: its default for OpenAI (Responses), chat completions, and Anthropic.
import { createAnthropic } from '@ai-sdk/anthropic';
import { createOpenAI } from '@ai-sdk/openai';
import { generateText, stepCountIs, streamText, tool } from 'ai';
import { z } from 'zod';
import { CLAUDE, expect, KEY, lookedUp, main, MODEL, QUESTION, ROOT, task, TOOL_QUESTION } from './checks.mjs';

const openai = createOpenAI({ baseURL: `${ROOT}/v1`, apiKey: KEY });
const anthropic = createAnthropic({ baseURL: `${ROOT}/v1`, apiKey: KEY });
const ways = { default: [(name) => openai(name), MODEL], chat: [(name) => openai.chat(name), MODEL], anthropic: [(name) => anthropic(name), CLAUDE] };
const checks = {};

for (const [way, [make, name]] of Object.entries(ways)) {
  const tools = (seen) => ({
    look_up: tool({
      description: 'Look a number up.',
      inputSchema: z.object({ number: z.number().int() }),
      execute: async ({ number }) => (seen.push(number), lookedUp(number)),
    }),
  });
  checks[`${way}_plain`] = async () => expect((await generateText({ model: make(name), prompt: QUESTION, maxRetries: 0 })).text.includes('Paris'), 'Paris');
  checks[`${way}_stream`] = async () => {
    let text = '';
    for await (const part of streamText({ model: make(name), prompt: QUESTION, maxRetries: 0 }).textStream) text += part;
    expect(text.includes('Paris'), text);
  };
  checks[`${way}_tools`] = async () => {
    const seen = [];
    await generateText({ model: make(name), tools: tools(seen), prompt: TOOL_QUESTION, maxRetries: 0 });
    expect(seen.join() === '1', seen);
  };
  checks[`${way}_error`] = async () => {
    try {
      await generateText({ model: make('no-such-model'), prompt: QUESTION, maxRetries: 0 });
    } catch (error) {
      expect(error.statusCode === 404, error);
      return error.name;
    }
    throw new Error('no error');
  };
  checks[`${way}_loop`] = async () => {
    const seen = [];
    const said = await generateText({ model: make(name), tools: tools(seen), stopWhen: stepCountIs(40), prompt: task(`vercel${way}`), maxRetries: 0 });
    expect(said.text.includes('heron') && seen.length === 20, `${said.text} ${seen}`);
  };
}
await main(checks);
