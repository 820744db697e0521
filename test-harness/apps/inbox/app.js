// Inbox: each POST becomes one line of JSON at the end of a file in the directory that the owner gave to this app.
//
// POST /NAME appends to NAME.jsonl; a request without a name, to inbox.jsonl. A line has time, path, type and body: as text,
// or in base64 where it is no UTF-8.

import { now } from 'wasi:clocks/wall-clock@0.2.12';
import { getDirectories } from 'wasi:filesystem/preopens@0.2.12';
import { requestOf, send } from './http.js';
import { base64Of, bytesOf, textOf } from './text.js';

// The directory of the permission `inbox`.
const DIRECTORY = '/inbox';
const BODY_BYTES = 1 << 20;

export const incomingHandler = {
  handle(incoming, out) {
    let status, line, headers;
    try {
      [status, line, headers] = answer(requestOf(incoming));
    } catch (error) {
      [status, line] = [500, `it could not be kept: ${error.payload ?? error.message ?? error}`];
    }
    send(out, status, line, headers);
  },
};

function answer(request) {
  if (request.method !== 'POST') return [405, 'send what is to be kept with POST', { allow: 'POST' }];
  const name = request.path.slice(1) || 'inbox';
  if (!/^[a-zA-Z0-9][a-zA-Z0-9_-]{0,63}$/.test(name)) return [404, 'a name has letters, digits, - and _'];
  const directory = getDirectories().find(([, path]) => path === DIRECTORY)?.[0];
  if (directory === undefined) return [403, 'no directory was granted for the inbox'];
  const body = request.body(BODY_BYTES);
  if (body === null) return [413, 'a request has at most 1 MiB'];
  append(directory, `${name}.jsonl`, `${JSON.stringify(lineOf(request, body))}\n`);
  return [202, 'kept'];
}

function lineOf(request, body) {
  const { seconds, nanoseconds } = now();
  const time = new Date(Number(seconds) * 1000 + Math.floor(nanoseconds / 1e6)).toISOString();
  const type = request.headers['content-type'] ?? null;
  const text = textOf(body);
  const content = text === null ? { base64: base64Of(body) } : { body: text };
  return { time, path: request.path, type, ...content };
}

/** In pieces as large as the host takes: only lines longer than that could mix with those of a call at the same time. */
function append(directory, name, line) {
  const file = directory.openAt({ symlinkFollow: false }, name, { create: true }, { write: true });
  const stream = file.appendViaStream();
  for (let rest = bytesOf(line); rest.length > 0; ) {
    const most = Number(stream.checkWrite());
    stream.write(rest.subarray(0, most));
    stream.blockingFlush();
    rest = rest.subarray(most);
  }
  file.syncData();
}
