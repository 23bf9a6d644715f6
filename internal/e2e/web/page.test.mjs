// The daemon's page in a browser. BIMAMBAD_URL is a running daemon; without it, the fake of this folder answers. CHROMIUM is another browser's path.
// Faults and kinds of models that a daemon at hand may not have come from the fake in any case.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { chromium } from 'playwright-core';
import { start } from './fake.mjs';

const sizes = {
  desktop: { viewport: { width: 1280, height: 800 }, colorScheme: 'light' },
  phone: { viewport: { width: 360, height: 640 }, colorScheme: 'dark', hasTouch: true, isMobile: true, deviceScaleFactor: 2 },
};

let browser;
before(async () => {
  browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: [
      ...(process.getuid() === 0 ? ['--no-sandbox'] : []), '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
      '--disable-component-update', '--disable-sync',
    ],
  });
});
after(() => browser?.close());

// visit runs fn on the page at a URL, and then checks what holds of every visit. Errors on the console are those that `faults` matches, and no others.
async function visit(url, fn, { size = 'desktop', faults } = {}) {
  const context = await browser.newContext(sizes[size]);
  try {
    const page = await context.newPage();
    page.setDefaultTimeout(15000);
    const errors = [], foreign = [];
    page.on('console', m => { if (['error', 'warning'].includes(m.type()) && !faults?.test(m.text())) errors.push(m.text()); });
    page.on('pageerror', e => errors.push(e.message));
    page.on('request', r => { if (!r.url().startsWith(new URL(url).origin + '/') && !r.url().startsWith('data:')) foreign.push(r.url()); });
    await page.goto(url);
    await fn(page, context);
    assert.deepEqual(foreign, [], 'requests to another origin');
    assert.deepEqual(errors, [], 'errors on the console');
    const wide = await page.evaluate(() => [document.documentElement, document.body, document.querySelector('.side'), document.querySelector('#log')]
      .filter(e => e.scrollWidth > e.clientWidth).map(e => e.id || e.className || e.tagName));
    assert.deepEqual(wide, [], 'these scroll sideways');
  } finally {
    await context.close();
  }
}

const ready = page => page.waitForFunction(() => document.querySelector('#model').options.length > 0 && document.querySelector('#about').textContent);
const prompt = page => page.getByRole('textbox', { name: 'Message' });
const answers = page => page.locator('.answer');
const idle = page => page.waitForFunction(() => document.querySelector('#log').getAttribute('aria-busy') === 'false');

async function say(page, text) {
  await prompt(page).fill(text);
  await prompt(page).press('Enter');
}

// ask says something, waits for the whole answer and returns it.
async function ask(page, text) {
  const n = await answers(page).count();
  await say(page, text);
  const meta = answers(page).nth(n).locator('.meta');
  await meta.waitFor();
  return { text: await answers(page).nth(n).locator('.text').textContent(), json: await answers(page).nth(n).locator('.json').textContent(), meta: await meta.textContent() };
}

// withFake runs fn on the page of a fake.
const withFake = (options, fn, how) => async () => {
  const fake = await start(options);
  try {
    await visit(fake.url, (page, context) => fn(page, fake, context), how);
  } finally {
    await fake.close();
  }
};

// accessible returns what is wrong with the names, order and colours of what is on the page.
const accessible = page => page.evaluate(() => {
  const wrong = [];
  const seen = e => e.checkVisibility();
  const all = selector => [...document.querySelectorAll(selector)].filter(seen);
  for (const e of all('input, select, textarea')) if (!e.labels.length || !e.labels[0].textContent.trim()) wrong.push(`${e.id}: no label`);
  for (const e of all('button, summary')) if (!(e.ariaLabel ?? e.textContent).trim()) wrong.push(`${e.outerHTML}: no name`);
  for (const e of all('button, select, input:not([type=checkbox]), textarea, summary')) if (e.getBoundingClientRect().height < 36) wrong.push(`${e.id || e.textContent}: too low to touch`);
  if (!document.documentElement.lang) wrong.push('no language');
  if (!document.title) wrong.push('no title');
  if (document.querySelectorAll('h1').length !== 1 || document.querySelectorAll('main').length !== 1) wrong.push('not one h1 and one main');
  if (document.querySelector('[tabindex]:not([tabindex="0"])')) wrong.push('an order of its own for the tab key');
  if (document.querySelector('#log').getAttribute('aria-live') !== 'polite') wrong.push('answers are not announced');

  const rgb = css => css.match(/[\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4).reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = e => { for (; e; e = e.parentElement) { const c = rgb(getComputedStyle(e).backgroundColor); if (c[3] !== 0) return c; } return [255, 255, 255]; };
  for (const e of all('body *')) {
    if (![...e.childNodes].some(n => n.nodeType === Node.TEXT_NODE && n.data.trim())) continue;
    const [a, b] = [light(rgb(getComputedStyle(e).color)), light(behind(e))];
    const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (contrast < 4.5) wrong.push(`${e.textContent.trim().slice(0, 30)}: contrast ${contrast.toFixed(1)}`);
  }
  return wrong;
});

for (const size of Object.keys(sizes)) {
  describe(`${process.env.BIMAMBAD_URL ? 'daemon' : 'fake'}, ${size}`, () => {
    let url, fake;
    before(async () => {
      if (!process.env.BIMAMBAD_URL) fake = await start({ energy: true });
      url = process.env.BIMAMBAD_URL ?? fake.url;
    });
    after(() => fake?.close());

    test('a prompt is answered piece by piece, with its numbers', () => visit(url, async page => {
      await ready(page);
      assert.deepEqual(await accessible(page), []);
      await page.evaluate(() => {
        window.pieces = 0;
        new MutationObserver(list => { window.pieces += list.filter(m => m.type === 'characterData').length; })
          .observe(document.querySelector('#log'), { subtree: true, characterData: true });
      });
      const first = await ask(page, 'turn on the kitchen lights');
      assert.ok((first.text + first.json).trim().length > 5, 'an answer');
      assert.ok(await page.evaluate(() => window.pieces) >= 3, 'it came in pieces');
      assert.match(first.meta, /\d+ prompt tokens, \d+ cached · \d+ new · .*decode [\d.,]+ tokens\/s · [\d.]+ s$/);
      const second = await ask(page, 'and now turn them off');
      assert.match(second.meta, /\d+ prompt tokens, \d+ cached/);
      if (fake) {
        assert.match(second.meta, /60 prompt tokens, 40 cached/);
        assert.equal(fake.seen.at(-1).prompt_cache_key, fake.seen.at(-2).prompt_cache_key);
        assert.deepEqual(fake.seen.at(-1).messages.map(m => m.role), ['user', 'assistant', 'user']);
        assert.equal(fake.seen.at(-1).messages[1].content, first.text);
      }
      assert.deepEqual(await accessible(page), []);
    }, { size }));

    test('the status is shown and goes on', () => visit(url, async page => {
      await ready(page);
      if (size === 'phone') await page.getByText('Status').click();
      const facts = () => page.locator('#facts').evaluate(dl => Object.fromEntries([...dl.querySelectorAll('dt')].filter(e => !e.hidden).map(e => [e.textContent, e.nextElementSibling.textContent])));
      const before = await facts();
      for (const name of ['Model', 'Kind', 'Weights', 'Resident', 'Mapped', 'Arena, heap', 'Sessions', 'States kept', 'Tokens read', 'Tokens written', 'Runs on', 'Up for', 'Version']) {
        assert.ok(before[name], `${name}: ${before[name]}`);
        assert.doesNotMatch(before[name], /NaN|undefined|null/, name);
      }
      const { text } = await ask(page, 'hello');
      await page.waitForFunction(old => [...document.querySelectorAll('#facts dt')].find(e => e.textContent === 'Tokens written').nextElementSibling.textContent !== old, before['Tokens written']);
      assert.match(await page.locator('#decode').textContent(), /^[\d.,]+$/, text);
      if (fake) {
        const now = await facts();
        assert.match(now.Energy, /^0.037 J\/token, 1,235 J in all$/);
        assert.deepEqual([now.Power, now.Temperature, now['Held back']], ['4.32 W, 2.9 W at idle', '61 °C, under voltage', '42 % by watts']);
        assert.equal(now['States kept'], '3 of 10');
      }
    }, { size }));

    test('a long answer is stopped', async t => {
      if (!fake) {
        const { model } = await (await fetch(new URL('/status', url))).json();
        if (model.kind === 'intent') return t.skip('an intent model says nothing long; BIMAMBAD_URL has to be that of a base or instruct model');
      }
      await visit(url, async page => {
        await ready(page);
        if (size === 'phone') await page.getByText('Settings').click();
        await page.getByLabel('Max tokens').fill('4000');
        if (size === 'phone') await page.getByText('Settings').click();
        await say(page, 'count for ever, and never stop');
        await page.waitForFunction(() => document.querySelector('.answer')?.textContent.length > 60);
        await page.getByRole('button', { name: 'Stop' }).click();
        const meta = answers(page).first().locator('.meta');
        assert.match(await meta.textContent(), /^stopped · /);
        await page.getByRole('button', { name: 'Send' }).waitFor();
        const text = await answers(page).first().locator('.text').textContent();
        await say(page, 'go on');
        await answers(page).nth(1).waitFor();
        await page.keyboard.press('Escape');
        await idle(page);
        assert.equal(await answers(page).first().locator('.text').textContent(), text, 'nothing was added behind the stop');
      }, { size });
    });
  });
}

describe('keyboard', () => {
  test('Enter sends, Shift and Enter begins a line, the focus is seen', withFake({}, async (page, fake) => {
    await ready(page);
    await prompt(page).focus();
    await page.keyboard.type('one');
    await page.keyboard.press('Shift+Enter');
    await page.keyboard.type('two');
    assert.equal(await prompt(page).inputValue(), 'one\ntwo');
    await page.keyboard.press('Enter');
    await answers(page).locator('.meta').waitFor();
    assert.equal(fake.seen[0].messages[0].content, 'one\ntwo');
    assert.equal(await prompt(page).inputValue(), '');
    const stops = new Set();
    for (let i = 0; i < 14; i++) {
      await page.keyboard.press('Tab');
      const at = await page.evaluate(() => {
        const e = document.activeElement;
        return e === document.body ? null : { name: e.id || e.textContent, outline: getComputedStyle(e).outlineStyle };
      });
      if (!at) continue;
      stops.add(at.name);
      assert.notEqual(at.outline, 'none', `${at.name}: the focus is not seen`);
    }
    for (const id of ['model', 'new', 'system', 'temperature', 'max', 'json', 'session', 'log', 'prompt', 'send']) assert.ok(stops.has(id), `${id} is not reached by the tab key`);
  }));
});

describe('settings', () => {
  test('all of them are sent', withFake({}, async (page, fake) => {
    await ready(page);
    await page.getByLabel('System prompt', { exact: true }).fill('Be brief.');
    await page.getByLabel('Temperature').fill('0.3');
    await page.getByLabel('Max tokens').fill('2');
    await page.getByLabel('Answer in JSON').check();
    await page.getByLabel('Session key').fill('mine');
    const cut = await ask(page, 'give me a colour');
    assert.match(cut.meta, /cut off at max tokens/);
    assert.match(cut.meta, /not valid JSON/);
    const { messages, temperature, max_tokens, response_format, prompt_cache_key, stream, stream_options } = fake.seen[0];
    assert.deepEqual({ temperature, max_tokens, response_format, prompt_cache_key, stream, stream_options }, {
      temperature: 0.3, max_tokens: 2, response_format: { type: 'json_object' }, prompt_cache_key: 'mine', stream: true, stream_options: { include_usage: true },
    });
    assert.deepEqual(messages, [{ role: 'system', content: 'Be brief.' }, { role: 'user', content: 'give me a colour' }]);
    await page.getByLabel('Max tokens').fill('');
    const whole = await ask(page, 'again');
    assert.deepEqual(JSON.parse(whole.json), { color: 'red', n: 3 });
    assert.equal(fake.seen[1].max_tokens, undefined);
    await page.getByLabel('Temperature').fill('7');
    await say(page, 'this is not sent');
    assert.equal(await answers(page).count(), 2);
    await page.getByRole('button', { name: 'New conversation' }).click();
    assert.equal(await answers(page).count(), 0);
    await page.getByLabel('Temperature').fill('');
    assert.notEqual(await page.getByLabel('Session key').inputValue(), 'mine');
    await ask(page, 'hello');
    assert.deepEqual(fake.seen.at(-1).messages.map(m => m.role), ['system', 'user']);
    assert.equal(fake.seen.at(-1).temperature, undefined);
  }));

  test('a persona brings its own system prompt', withFake({}, async (page, fake) => {
    await ready(page);
    await page.getByLabel('System prompt', { exact: true }).fill('Be brief.');
    await page.getByLabel('Model').selectOption({ label: 'pirate (mamba-2.7b)' });
    await page.locator('#persona').waitFor();
    assert.match(await page.locator('#persona').textContent(), /pirate/);
    assert.ok(await page.locator('#system').isHidden());
    await ask(page, 'hello');
    assert.equal(fake.seen[0].model, 'mamba-2.7b:pirate');
    assert.deepEqual(fake.seen[0].messages.map(m => m.role), ['user']);
    // Also behind the first message, which takes the model's description off the page.
    await page.getByLabel('Model').selectOption({ label: 'mamba-2.7b' });
    await page.locator('#persona').waitFor({ state: 'hidden' });
    assert.ok(await page.locator('#system').isVisible());
  }));

  test('a base model is said to be one', withFake({ kind: 'base' }, async page => {
    await ready(page);
    assert.match(await page.locator('#about').textContent(), /plain transcript/);
    assert.ok(await page.locator('#system').isVisible());
  }));
});

describe('intent', () => {
  for (const size of Object.keys(sizes)) {
    test(`the JSON and the reply are shown apart, ${size}`, withFake({ kind: 'intent' }, async (page, fake) => {
      await ready(page);
      assert.ok(await page.locator('#system').isHidden());
      await page.getByRole('button', { name: 'turn on the kitchen lights' }).click();
      await answers(page).locator('.meta').waitFor();
      await ask(page, 'and the next');
      const answer = answers(page).first();
      assert.deepEqual(JSON.parse(await answer.locator('.json').textContent()), { intent: 'HassTurnOn', slots: { area: 'Kitchen', domain: 'light' } });
      assert.equal(await answer.locator('.text').textContent(), 'Turned on the lights');
      assert.deepEqual(fake.seen[1].messages, [{ role: 'user', content: 'and the next' }]);
      assert.deepEqual(await accessible(page), []);
    }, { size }));
  }
});

describe('faults', () => {
  test('text is never markup', withFake({}, async page => {
    await ready(page);
    const { text } = await ask(page, 'markup <b>please</b>');
    assert.equal(text, '<img src=x onerror="document.title=1"><b>not bold</b>');
    assert.equal(await page.locator('#log img, #log b').count(), 0);
    assert.match(await page.locator('.user').textContent(), /<b>please<\/b>/);
  }));

  test('a word without an end does not scroll sideways', withFake({}, async page => {
    await ready(page);
    assert.equal((await ask(page, 'without a space ' + 'y'.repeat(200))).text.length, 400);
  }, { size: 'phone' }));

  test('a token is asked for, sent and kept in the tab alone', withFake({ token: 's3cret' }, async (page, fake, context) => {
    await page.getByLabel('access token').fill('wrong');
    await page.keyboard.press('Enter');
    await page.getByText('The daemon refuses this access token.').waitFor();
    assert.deepEqual(await accessible(page), []);
    await page.getByLabel('access token').fill('s3cret');
    await page.keyboard.press('Enter');
    await ready(page);
    assert.ok(await page.locator('#auth').isHidden());
    assert.ok(await page.locator('#error').isHidden());
    await ask(page, 'hello');
    await page.reload();
    await ready(page);
    const { cookies, origins } = await context.storageState();
    assert.deepEqual({ cookies, origins }, { cookies: [], origins: [] });
  }, { faults: /401/ }));

  for (const [fault, want] of [
    ['busy', /^the queue is full; try again in 3 s$/],
    ['in-stream', /^the blob is gone$/],
    ['cut', /^Connection lost: the answer is not whole\.$/],
    ['short', /^Connection lost: the answer is not whole\.$/],
  ]) {
    test(`${fault}: said in one line, and the prompt is not lost`, withFake({}, async (page, fake) => {
      await ready(page);
      fake.fail = fault;
      const { meta } = await ask(page, 'hello there');
      assert.match(await page.getByRole('alert').textContent(), want);
      assert.match(meta, /^failed · not part of the conversation$/);
      assert.equal(await prompt(page).inputValue(), 'hello there');
      fake.fail = '';
      assert.match((await ask(page, 'hello again')).text, /recurrent state/);
      assert.deepEqual(fake.seen.at(-1).messages, [{ role: 'user', content: 'hello again' }]);
      assert.ok(await page.locator('#error').isHidden());
    }, { faults: /429|ERR_INCOMPLETE_CHUNKED_ENCODING/ }));
  }

  test('a daemon that has gone is missed, and found again', async () => {
    let fake = await start();
    const port = Number(new URL(fake.url).port);
    try {
      await visit(fake.url, async page => {
        await ready(page);
        await fake.close();
        await ask(page, 'hello');
        assert.match(await page.getByRole('alert').textContent(), /^Connection lost: the daemon does not answer\.$/);
        await page.getByText('no connection').waitFor();
        fake = await start({ kind: 'base', port });
        await page.getByText('connected', { exact: true }).waitFor({ timeout: 30000 }); // a request of the page's may hang for 10 s
        await page.waitForFunction(() => document.querySelector('#model').value === 'mamba-780m');
        assert.match((await ask(page, 'hello')).text, /recurrent state/);
      }, { faults: /ERR_CONNECTION_REFUSED|ERR_CONNECTION_RESET|ERR_EMPTY_RESPONSE/ });
    } finally {
      await fake.close();
    }
  });

  test('a page that nobody sees asks nothing', withFake({}, async (page, fake) => {
    await ready(page);
    const hide = hidden => page.evaluate(hidden => {
      Object.defineProperty(document, 'hidden', { value: hidden, configurable: true });
      document.dispatchEvent(new Event('visibilitychange'));
    }, hidden);
    await hide(true);
    await page.waitForTimeout(500); // a request on its way
    const polls = fake.polls;
    await page.waitForTimeout(2500);
    assert.equal(fake.polls, polls);
    await Promise.all([page.waitForResponse(/\/status$/), hide(false)]);
    assert.equal(fake.polls, polls + 1);
  }));
});
