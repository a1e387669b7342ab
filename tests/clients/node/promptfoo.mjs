// promptfoo: an evaluation by each of its providers, a tool that is called, and errors as it tells of them.
import promptfoo from 'promptfoo';
import { CLAUDE, expect, KEY, main, MODEL, QUESTION, ROOT, SCHEMA, TOOL_QUESTION } from './checks.mjs';

process.env.PROMPTFOO_DISABLE_TELEMETRY = '1';
process.env.PROMPTFOO_DISABLE_UPDATE = '1';
process.env.PROMPTFOO_CACHE_ENABLED = 'false';

const openai = { apiBaseUrl: `${ROOT}/v1`, apiKey: KEY };
const chat = [{ type: 'function', function: { name: 'look_up', description: 'Look a number up.', parameters: SCHEMA } }];
const responses = [{ type: 'function', name: 'look_up', description: 'Look a number up.', parameters: SCHEMA }];
const messages = [{ name: 'look_up', description: 'Look a number up.', input_schema: SCHEMA }];
const ways = {
  default: [(name) => `openai:${name}`, MODEL, openai, chat],
  chat: [(name) => `openai:chat:${name}`, MODEL, openai, chat],
  responses: [(name) => `openai:responses:${name}`, MODEL, openai, responses],
  anthropic: [(name) => `anthropic:messages:${name}`, CLAUDE, { apiBaseUrl: ROOT, apiKey: KEY }, messages],
};
const checks = {};

async function evaluated(id, config, prompt, asserted) {
  const suite = { prompts: [prompt], providers: [{ id, config }], tests: [{ assert: asserted }], writeLatestResults: false };
  const summary = await (await promptfoo.evaluate(suite, { cache: false, maxConcurrency: 1, showProgressBar: false })).toEvaluateSummary();
  return summary.results[0];
}

for (const [way, [id, name, config, tools]] of Object.entries(ways)) {
  checks[`${way}_plain`] = async () => {
    const one = await evaluated(id(name), config, QUESTION, [{ type: 'contains', value: 'Paris' }]);
    expect(one.success, one.error ?? JSON.stringify(one.response?.output));
    expect(one.response.tokenUsage.total > 0, 'usage');
  };
  checks[`${way}_tools`] = async () => {
    const one = await evaluated(id(name), { ...config, tools }, TOOL_QUESTION, [{ type: 'contains', value: 'look_up' }]);
    expect(one.success, one.error ?? JSON.stringify(one.response?.output));
  };
  checks[`${way}_error`] = async () => {
    const one = await evaluated(id('no-such-model'), config, QUESTION, [{ type: 'contains', value: 'Paris' }]);
    const told = String(one.error ?? one.response?.error);
    expect(!one.success && told.includes('404'), told);
    return told.slice(0, 60);
  };
}
await main(checks);
process.exit(0);
