// A stand-in for bimambad, as far as its page asks: to work on the page, and to make it meet what a real daemon seldom does.
//
//   node fake.mjs [base|instruct|intent] [PORT]
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { fileURLToPath } from 'node:url';
import { setTimeout as sleep } from 'node:timers/promises';

// document is the page as edge/daemon/page serves it, and its policy.
function document() {
  const read = name => readFileSync(new URL(`../../../edge/daemon/page/${name}`, import.meta.url), 'utf8');
  const style = read('page.css'), script = read('page.js');
  const hash = text => `'sha256-${createHash('sha256').update(text).digest('base64')}'`;
  return {
    html: read('index.html').replace('{{style}}', () => style).replace('{{script}}', () => script),
    policy: `default-src 'none'; script-src ${hash(script)}; style-src ${hash(style)}; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; ` +
      "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
  };
}

const words = 'A recurrent state has one size, however long the text is that it has read; so the hundredth word costs what the first one did.'.split(/(?= )/);

// answers are the pieces of an answer. Some messages ask for something special.
function* answers(kind, body) {
  const asked = body.messages.at(-1).content;
  if (/for ever/.test(asked)) for (let i = 0; ; i++) yield words[i % words.length];
  if (/markup/.test(asked)) return yield '<img src=x onerror="document.title=1"><b>not bold</b>';
  if (/without a space/.test(asked)) return yield 'x'.repeat(400);
  if (body.response_format) return yield* ['{"color"', ':"red",', '"n":', '3}'];
  if (kind === 'intent') return yield* ['{"intent"', ':"HassTurnOn",', '"slots":{"area":"Kitchen",', '"domain":"light"}}', '\nTurned on', ' the lights'];
  yield* words;
}

const models = {
  base: { ids: ['mamba-780m'], parameters: 780_000_000, size: 167_000_000 },
  instruct: { ids: ['mamba-2.7b', 'mamba-2.7b:pirate'], parameters: 2_700_000_000, size: 420_000_000 },
  intent: { ids: ['bimamba-assistant-22m', 'bimamba-assistant-22m:home', 'bimamba-assistant-22m:assist', 'bimamba-assistant-22m:topics'], parameters: 21_900_000, size: 5_500_000 },
};

// start serves a fake on a port of loopback, any if it is 0. options: kind, token (that is asked for), energy (a sensor is there), pace (ms a piece).
// Besides url and close it returns seen, the bodies of the chats, polls, the number of status requests, and fail, which tests set to the name of a fault.
export async function start({ kind = 'instruct', token = '', energy = false, pace = 12, port = 0 } = {}) {
  const { ids, parameters, size } = models[kind];
  const fake = { seen: [], polls: 0, fail: '' };
  const json = (res, status, body, headers = {}) => res.writeHead(status, { 'Content-Type': 'application/json', ...headers }).end(JSON.stringify(body));
  const tokens = { prompt: 0, cached: 0, sampled: 0 };

  async function chat(req, res, body) {
    fake.seen.push(body);
    if (fake.fail === 'busy') return json(res, 429, { error: { message: 'the queue is full', type: 'rate_limit_error' } }, { 'Retry-After': '3' });
    const known = body.prompt_cache_key && body.messages.length > 1;
    const usage = { prompt_tokens: 20 * body.messages.length, completion_tokens: 0, prompt_tokens_details: { cached_tokens: known ? 20 * (body.messages.length - 1) : 0 } };
    res.writeHead(200, { 'Content-Type': 'text/event-stream' });
    const chunk = o => res.write(`data: ${JSON.stringify({ id: 'chatcmpl-1', object: 'chat.completion.chunk', created: 1, model: body.model, usage: null, ...o })}\n\n`);
    const delta = (d, finish_reason = null) => chunk({ choices: [{ index: 0, delta: d, logprobs: null, finish_reason }] });
    res.write(': still working\n\n');
    await sleep(4 * pace);
    delta({ role: 'assistant', content: '', refusal: null });
    let finish = 'stop';
    for (const piece of answers(kind, body)) {
      if (res.destroyed) return;
      if (fake.fail === 'in-stream' && usage.completion_tokens === 3) return res.end(`data: ${JSON.stringify({ error: { message: 'the blob is gone' } })}\n\n`);
      if (fake.fail === 'cut' && usage.completion_tokens === 3) return res.destroy();
      if (fake.fail === 'short' && usage.completion_tokens === 3) return res.end();
      if (usage.completion_tokens === body.max_tokens) { finish = 'length'; break; }
      usage.completion_tokens++;
      delta({ content: piece });
      await sleep(pace);
    }
    delta({}, finish);
    tokens.prompt += usage.prompt_tokens;
    tokens.cached += usage.prompt_tokens_details.cached_tokens;
    tokens.sampled += usage.completion_tokens;
    chunk({ choices: [], usage, timings: { queued_ms: 0.1, prefill_ms: 24, decode_ms: 400, prompt_per_second: 812.3, predicted_per_second: 118.4 } });
    res.end('data: [DONE]\n\n');
  }

  function show(res, { model }) {
    const [, tag] = model.split(':');
    const info = { 'general.architecture': 'mamba2', 'bimamba.kind': kind, 'general.parameter_count': parameters };
    if (kind === 'intent') info['bimamba.task'] = tag ?? 'home';
    if (tag === 'pirate') info['bimamba.persona'] = tag;
    const system = tag === 'pirate' ? 'You are a pirate. Answer in one sentence.' : undefined;
    json(res, 200, { system, parameters: 'temperature                    0.7\nnum_predict                    256\n', model_info: info, capabilities: ['completion'] });
  }

  const status = () => ({
    model: { name: ids[0], kind, family: 'bi-mamba', parameters, quantization: '1bit', size, vocab_size: 4096 },
    version: '0.4.0', kernel: 'avx512', threads: 2, uptime_s: 3725,
    memory: { mapped: size, arena: 34_100_000, heap: 4_200_000, rss: size + 11_300_000 },
    sessions: { total: 2, active: 0, waiting: 0, checkpoints: 8, in_use: 3 }, tokens,
    tokens_per_s: tokens.sampled ? { prefill: 812.3, decode: 118.4 } : { prefill: null, decode: null },
    energy: energy ? { watts: 4.317, idle_watts: 2.9, joules: 1234.5, j_per_token: 0.0365, sensor: 'pmic', celsius: 61.4, throttled: { now: ['under voltage'], ever: [] } } : null,
    governor: energy ? { max_watts: 4.5, max_temp: 0, max_tokens_per_s: 0, limiting: ['watts'], pause_ratio: 0.416, threads: 2 } : null,
    tasks: kind === 'intent' ? ['home', 'assist', 'topics'] : [], personas: kind === 'instruct' ? ['pirate'] : [],
  });

  const server = createServer(async (req, res) => {
    let text = '';
    for await (const part of req) text += part;
    const path = `${req.method} ${req.url}`;
    if (path === 'GET /') {
      const page = document();
      return res.writeHead(200, { 'Content-Type': 'text/html; charset=utf-8', 'Content-Security-Policy': page.policy }).end(page.html);
    }
    if (token && req.headers.authorization !== `Bearer ${token}`) return json(res, 401, { error: { message: 'a token is needed' } });
    const body = text && JSON.parse(text);
    switch (path) {
      case 'GET /status': fake.polls++; return json(res, 200, status());
      case 'GET /v1/models': return json(res, 200, { object: 'list', data: ids.map(id => ({ id, object: 'model', created: 1, owned_by: 'bimamba' })) });
      case 'POST /api/show': return show(res, body);
      case 'POST /v1/chat/completions': return chat(req, res, body);
    }
    json(res, 404, { error: { message: `Invalid URL (${path})` } });
  });
  await new Promise((resolve, reject) => server.once('error', reject).listen(port, '127.0.0.1', resolve));
  fake.url = `http://127.0.0.1:${server.address().port}`;
  fake.close = () => new Promise(resolve => { server.close(resolve); server.closeAllConnections(); });
  return fake;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [kind, port] = process.argv.slice(2);
  console.log((await start({ kind, port: Number(port ?? 8080), energy: true, pace: 40 })).url);
}
