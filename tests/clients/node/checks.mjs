// The checks of one program: each prints a line of JSON, {check, ok, note}.
export const ROOT = process.env.GATEWAY_ROOT;
export const KEY = process.env.GATEWAY_KEY;
export const MODEL = process.env.GATEWAY_MODEL ?? 'gpt-5';
export const CLAUDE = process.env.GATEWAY_CLAUDE ?? 'claude-sonnet-5';
export const QUESTION = 'What is the capital of France?';
export const TOOL_QUESTION = 'Use the tool: look up number 1.';
const WORDS = ['amber', 'basin', 'cedar', 'delta', 'ember', 'fjord', 'grove', 'heath', 'inlet', 'joule'];

export const SCHEMA = { type: 'object', properties: { number: { type: 'integer' } }, required: ['number'], additionalProperties: false };

// A task of twenty steps for the model that works.
export function task(name) {
  const run = `run-${name.toLowerCase().replace(/[^a-z0-9]/g, '')}${Math.random().toString(16).slice(2, 8).padEnd(6, '0')}`;
  return `Look up the numbers of ${run} one by one with the tool, until the model says that it is done.`;
}

// A long result, another for each number.
export function lookedUp(number) {
  let seed = number * 7919;
  const word = () => WORDS[(seed = (seed * 1103515245 + 12345) % 2147483648) % WORDS.length];
  return `number ${number}: ${Array.from({ length: 900 }, word).join(' ')}`;
}

export function expect(holds, what) {
  if (!holds) throw new Error(`not so: ${what}`);
}

// Runs checks, an object of functions by name.
export async function main(checks) {
  const wanted = process.argv.slice(2);
  for (const [check, run] of Object.entries(checks)) {
    if (wanted.length && !wanted.includes(check)) continue;
    try {
      console.log(JSON.stringify({ check, ok: true, note: String((await run()) ?? '').slice(0, 120) }));
    } catch (error) {
      console.error(error);
      console.log(JSON.stringify({ check, ok: false, note: `${error.name}: ${error.message}`.slice(0, 400) }));
    }
  }
}
