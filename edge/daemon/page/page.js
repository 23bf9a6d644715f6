const $ = id => document.getElementById(id);
const tokenKey = 'bimambad-token';

let token = '';
try { token = sessionStorage.getItem(tokenKey) ?? ''; } catch { /* storage is off: the token lasts as long as the page */ }
const hello = $('hello'), about = $('about'), examples = $('examples'); // they leave the document with the first message
let turns = [];      // the conversation, as it is sent
let running = null;  // the answer's AbortController
let kind = '';       // base, instruct or intent
let served = '';     // the model's name in the last status
let polling = 0;     // the timer of the next status

// Failure is an error with a message for people.
class Failure extends Error {}

async function call(path, init = {}) {
  const headers = { ...init.headers };
  if (token) headers.Authorization = 'Bearer ' + token;
  let r;
  try {
    r = await fetch(path, { signal: AbortSignal.timeout(10000), ...init, headers, cache: 'no-store' });
  } catch (e) {
    if (init.signal?.aborted && e.name === 'AbortError') throw e;
    link(false);
    throw new Failure('Connection lost: the daemon does not answer.');
  }
  link(true);
  if (r.ok) return r;
  if (r.status === 401) askToken();
  throw new Failure(await message(r));
}

// message is the error of an answer in one line, in whichever API's form.
async function message(r) {
  let text = `The daemon answered ${r.status}.`;
  try {
    const { error } = await r.json();
    text = error?.message ?? (typeof error === 'string' ? error : text);
  } catch { /* not JSON: the status says it */ }
  const wait = r.headers.get('Retry-After');
  return wait ? `${text.replace(/\.$/, '')}; try again in ${wait} s` : text;
}

function link(on) {
  const text = on ? 'connected' : 'no connection';
  if ($('link').textContent !== text) $('link').textContent = text;
  $('link').className = on ? 'on' : 'off';
}

function fail(text) {
  $('error').textContent = text.replace(/\s+/g, ' ');
  $('error').hidden = !text;
}

function askToken() {
  if (!$('auth').hidden) return;
  if (token) fail('The daemon refuses this access token.');
  $('auth').hidden = false;
  $('token').focus();
}

$('auth').addEventListener('submit', e => {
  e.preventDefault();
  token = $('token').value;
  try { sessionStorage.setItem(tokenKey, token); } catch { /* as above */ }
  $('token').value = '';
  $('auth').hidden = true;
  fail('');
  $('prompt').focus();
  start();
});

// Numbers for people.
const digits = (n, d) => n.toLocaleString('en', { maximumFractionDigits: d });
const short = n => digits(n, n < 10 ? 1 : 0);
const rate = n => n == null ? '–' : short(n);
function scaled(n, units) {
  let i = 0;
  for (; n >= 999.5 && i < units.length - 1; i++) n /= 1000;
  return short(n) + units[i];
}
const bytes = n => scaled(n, [' B', ' kB', ' MB', ' GB']);
const count = n => scaled(n, ['', 'K', 'M', 'B']);
function span(s) {
  const [d, h, m] = [s / 86400, s / 3600 % 24, s / 60 % 60].map(Math.floor);
  return d ? `${d} d ${h} h` : h ? `${h} h ${m} min` : m ? `${m} min` : `${Math.floor(s)} s`;
}

const rows = new Map();
function fact(name, value) {
  let row = rows.get(name);
  if (!row) {
    row = [document.createElement('dt'), document.createElement('dd')];
    row[0].textContent = name;
    $('facts').append(...row);
    rows.set(name, row);
  }
  row[0].hidden = row[1].hidden = !value;
  set(row[1], value ?? '');
}
// set leaves a text alone that is right, so that it can be selected.
function set(el, text) { if (el.textContent !== text) el.textContent = text; }

function showStatus(s) {
  const { model: m, memory, sessions: n, tokens: t, tokens_per_s: speed, energy, governor: g } = s;
  set($('decode'), rate(speed?.decode));
  set($('prefill'), rate(speed?.prefill));
  set($('brief'), speed?.decode != null ? rate(speed.decode) + ' tokens/s' : memory ? bytes(memory.rss) : '');
  if (m) {
    fact('Model', m.name);
    fact('Kind', [m.kind, m.family].filter(Boolean).join(', '));
    fact('Weights', [typeof m.parameters === 'number' ? count(m.parameters) : m.parameters, m.quantization, m.size && bytes(m.size)].filter(Boolean).join(', '));
  }
  if (energy) {
    fact('Power', energy.watts == null ? '' : digits(energy.watts, 2) + ' W' + (energy.idle_watts == null ? '' : `, ${digits(energy.idle_watts, 2)} W at idle`));
    fact('Energy', [energy.j_per_token != null && digits(energy.j_per_token, 3) + ' J/token', energy.joules != null && digits(energy.joules, 0) + ' J in all'].filter(Boolean).join(', '));
    fact('Sensor', energy.sensor);
    fact('Temperature', [energy.celsius != null && digits(energy.celsius, 0) + ' °C', ...energy.throttled?.now ?? []].filter(Boolean).join(', '));
  } else for (const name of ['Power', 'Energy', 'Sensor', 'Temperature']) if (rows.has(name)) fact(name, '');
  if (g || rows.has('Held back')) fact('Held back', g?.limiting.length ? `${digits(100 * g.pause_ratio, 0)} % by ${g.limiting.join(', ')}` : '');
  if (memory) {
    fact('Resident', bytes(memory.rss));
    fact('Mapped', bytes(memory.mapped));
    fact('Arena, heap', `${bytes(memory.arena)}, ${bytes(memory.heap)}`);
  }
  if (n) {
    fact('Sessions', `${n.active} of ${n.total} active` + (n.waiting ? `, ${n.waiting} waiting` : ''));
    fact('States kept', `${n.in_use} of ${n.total + n.checkpoints}`);
  }
  if (t) {
    fact('Tokens read', `${digits(t.prompt, 0)}, ${digits(t.cached, 0)} cached`);
    fact('Tokens written', digits(t.sampled, 0));
  }
  fact('Runs on', [s.kernel, s.threads && `${s.threads} thread${s.threads > 1 ? 's' : ''}`].filter(Boolean).join(', '));
  fact('Up for', s.uptime_s == null ? '' : span(s.uptime_s));
  fact('Version', s.version);
}

// poll asks for the status every 2 s, but not for a page that nobody sees or that lacks the token.
async function poll() {
  clearTimeout(polling);
  if (document.hidden || !$('auth').hidden) return;
  try {
    const s = await (await call('/status', { signal: AbortSignal.timeout(10000) })).json();
    showStatus(s);
    if (s.model && s.model.name !== served) { // another file was loaded, or the daemon is back
      served = s.model.name;
      kind = s.model.kind;
      await loadModels();
    }
  } catch (e) {
    served = '';
    if (!(e instanceof Failure)) link(false);
  }
  clearTimeout(polling);
  polling = setTimeout(poll, 2000);
}
document.addEventListener('visibilitychange', poll);

// title has in front what names of one model differ in: a task or a persona.
function title(id) {
  const [name, tag] = id.split(':');
  return tag ? `${tag} (${name})` : name;
}

async function loadModels() {
  const { data } = await (await call('/v1/models')).json();
  const chosen = $('model').value;
  $('model').replaceChildren(...data.map(m => new Option(title(m.id), m.id, false, m.id === chosen)));
  await loadModel();
}

const exampleTexts = {
  home: ['turn on the kitchen lights', 'set a timer for 10 minutes', 'is the front door locked'],
  assist: ['play some jazz on the radio', 'will it rain in Hamburg tomorrow', 'book a table for two in Berlin'],
  topics: ['how much money is on my account', 'what time is it in Tokyo', 'tell me a joke'],
};

// loadModel learns what the chosen name means.
async function loadModel() {
  const model = $('model').value;
  let facts = {};
  try {
    const show = await (await call('/api/show', { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ model }) })).json();
    if ($('model').value !== model) return;
    facts = { ...show.model_info, system: show.system };
    const option = name => show.parameters?.match(new RegExp(`^${name}\\s+(\\S+)`, 'm'))?.[1];
    const standard = (id, value) => { $(id).placeholder = value ? `default ${short(Number(value))}` : 'default'; };
    standard('temperature', option('temperature'));
    standard('max', Number(option('num_predict')) > 0 && option('num_predict'));
  } catch (e) {
    if (!(e instanceof Failure)) throw e;
  }
  kind = facts['bimamba.kind'] || kind;
  const persona = facts['bimamba.persona'];
  const task = facts['bimamba.task'];
  $('system-row').hidden = kind === 'intent' || Boolean(persona);
  $('persona-row').hidden = !persona || !facts.system;
  $('persona').textContent = facts.system ?? '';
  const abouts = {
    base: 'A base model: it continues text and was not taught to converse. A chat is given to it as a plain transcript.',
    intent: 'An intent model: it turns one command into an intent with its slots, and reads nothing but the last message.' + (task ? ` Its task here is ${task}.` : ''),
  };
  about.textContent = abouts[kind] ?? facts['general.description'] ?? 'Ask it something.';
  examples.replaceChildren(...(kind === 'intent' && exampleTexts[task] || []).map(text => {
    const b = element('button', '', text);
    b.type = 'button';
    b.addEventListener('click', () => send(text));
    return b;
  }));
}
$('model').addEventListener('change', () => loadModel().catch(e => fail(e.message)));

function element(tag, className, text = '') {
  const el = document.createElement(tag);
  el.className = className;
  el.textContent = text;
  return el;
}

function fresh() {
  running?.abort();
  turns = [];
  // randomUUID is for secure origins alone, and a board in a home is none.
  $('session').value = 'page-' + Array.from(crypto.getRandomValues(new Uint8Array(8)), b => b.toString(16).padStart(2, '0')).join('');
  $('log').replaceChildren(hello);
  fail('');
}
$('new').addEventListener('click', () => { fresh(); $('prompt').focus(); });

// events are the parsed events of an answer. It throws if the stream ends before it says so.
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  for (let rest = ''; ;) {
    const { done, value } = await reader.read();
    if (done) break;
    const lines = (rest + value).split('\n');
    rest = lines.pop();
    for (const line of lines) {
      if (!line.startsWith('data:')) continue;
      const data = line.slice(5).trim();
      if (data === '[DONE]') return;
      yield JSON.parse(data);
    }
  }
  throw new Failure('Connection lost: the answer is not whole.');
}

// Answer is an answer on the page. JSON is shown apart: of an intent model that is the first line, the reply follows.
class Answer {
  whole = '';
  constructor(question, json) {
    this.json = json;
    this.head = document.createTextNode('');
    this.tail = document.createTextNode('');
    this.box = element('div', 'json');
    this.reply = element('p', 'text');
    this.item = element('article', 'answer');
    this.item.append(element('span', 'unseen', 'Answer: '), this.reply, this.box);
    const asked = element('p', 'user');
    asked.append(element('span', 'unseen', 'You: '), question);
    hello.remove();
    $('log').append(asked, this.item);
    follow(true);
  }
  add(text) {
    this.whole += text;
    if (!this.head.parentNode) {
      this.box.append(this.head);
      this.reply.append(this.tail);
    }
    if (this.json !== 'line') {
      (this.json ? this.head : this.tail).appendData(text);
    } else if (this.tail.length || this.head.data.includes('\n')) {
      this.tail.appendData(text);
    } else {
      this.head.appendData(text);
      const at = this.head.data.indexOf('\n');
      if (at >= 0) {
        this.tail.appendData(this.head.data.slice(at + 1));
        this.head.deleteData(at + 1, this.head.length);
      }
    }
    follow(false);
  }
  end(notes) {
    if (this.json && this.whole) {
      try {
        this.head.data = JSON.stringify(JSON.parse(this.head.data), null, 2);
      } catch { notes.unshift('not valid JSON'); }
    }
    this.item.append(element('p', 'meta', notes.filter(Boolean).join(' · ')));
    follow(false);
  }
}

// follow scrolls to the end, unless the reader has scrolled back.
let pinned = true, frame = 0;
$('log').addEventListener('scroll', () => { const l = $('log'); pinned = l.scrollHeight - l.scrollTop - l.clientHeight < 60; });
function follow(always) {
  pinned ||= always;
  if (pinned && !frame) frame = requestAnimationFrame(() => { frame = 0; $('log').scrollTop = $('log').scrollHeight; });
}

function request(text) {
  const messages = kind === 'intent' ? [] : [...turns];
  const system = $('system').value.trim();
  if (system && !$('system-row').hidden) messages.unshift({ role: 'system', content: system });
  messages.push({ role: 'user', content: text });
  const body = { model: $('model').value, messages, stream: true, stream_options: { include_usage: true } };
  if ($('session').value) body.prompt_cache_key = $('session').value;
  if ($('temperature').value) body.temperature = Number($('temperature').value);
  if ($('max').value) body.max_tokens = Number($('max').value);
  if ($('json').checked) body.response_format = { type: 'json_object' };
  return body;
}

async function send(text) {
  if (running || !text.trim()) return;
  for (const field of [$('temperature'), $('max')]) {
    if (!field.checkValidity()) { $('settings').open = true; field.reportValidity(); return; }
  }
  const body = request(text);
  const answer = new Answer(text, $('json').checked ? 'all' : kind === 'intent' ? 'line' : '');
  const stop = running = new AbortController();
  const begin = performance.now();
  const progress = setInterval(() => {
    $('progress').textContent = `${answer.whole ? 'Answering' : 'Reading the prompt'}, ${digits((performance.now() - begin) / 1000, 0)} s`;
    $('progress').hidden = false;
  }, 500);
  busy(true);
  fail('');
  let last = {}, finish = '', error = '';
  try {
    const r = await call('/v1/chat/completions', {
      method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body), signal: stop.signal,
    });
    for await (const e of events(r.body)) {
      if (e.error) throw new Failure(e.error.message ?? String(e.error));
      const choice = e.choices?.[0];
      if (choice?.delta?.content) answer.add(choice.delta.content);
      finish = choice?.finish_reason ?? finish;
      if (e.usage) last = e;
    }
  } catch (e) {
    if (!stop.signal.aborted) error = e instanceof Failure ? e.message : 'Connection lost: the answer is not whole.';
  }
  clearInterval(progress);
  $('progress').hidden = true;
  running = null;
  busy(false);
  if (!answer.item.isConnected) return; // the conversation is another by now
  if (error) fail(error);
  if (error || !answer.whole && stop.signal.aborted) { // it was not said: it can be sent again
    answer.end([error ? 'failed' : 'stopped before it began', 'not part of the conversation']);
    if (!$('prompt').value) $('prompt').value = text;
  } else {
    turns.push({ role: 'user', content: text }, { role: 'assistant', content: answer.whole });
    answer.end(notes(last, finish, stop.signal.aborted, (performance.now() - begin) / 1000));
  }
  poll();
}

// notes are the numbers of an answer.
function notes({ usage: u, timings: t }, finish, stopped, seconds) {
  const list = [stopped ? 'stopped' : finish === 'length' ? 'cut off at max tokens' : ''];
  if (u) list.push(`${u.prompt_tokens} prompt tokens, ${u.prompt_tokens_details?.cached_tokens ?? 0} cached`, `${u.completion_tokens} new`);
  if (t?.queued_ms >= 50) list.push(`queued ${digits(t.queued_ms / 1000, 1)} s`);
  if (t?.prompt_per_second) list.push(`prefill ${rate(t.prompt_per_second)} tokens/s`);
  if (t?.predicted_per_second) list.push(`decode ${rate(t.predicted_per_second)} tokens/s`);
  return [...list, `${digits(seconds, seconds < 10 ? 2 : 0)} s`];
}

function busy(on) {
  const left = document.activeElement;
  $('log').setAttribute('aria-busy', on);
  $('send').hidden = on;
  $('stop').hidden = !on;
  if (left === $('send') || left === $('stop')) $(on ? 'stop' : 'prompt').focus();
}

$('say').addEventListener('submit', e => {
  e.preventDefault();
  const text = $('prompt').value;
  if (running || !text.trim()) return;
  $('prompt').value = '';
  send(text);
});
$('prompt').addEventListener('keydown', e => {
  if (e.key !== 'Enter' || e.shiftKey || e.isComposing) return;
  e.preventDefault();
  $('say').requestSubmit();
});
$('stop').addEventListener('click', () => running?.abort());
document.addEventListener('keydown', e => { if (e.key === 'Escape') running?.abort(); });

const desktop = matchMedia('(min-width: 56rem)');
const unfold = () => { for (const id of ['status', 'settings']) $(id).open = desktop.matches; };
desktop.addEventListener('change', unfold);

// start begins to ask; the first status loads the models.
async function start() {
  served = '';
  await poll();
  if (!$('model').value) await loadModels().catch(e => $('auth').hidden && fail(e.message));
}

unfold();
fresh();
if (desktop.matches) $('prompt').focus();
start();
