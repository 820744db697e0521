// Requests and answers over wasi:http, as plain values.

import { Fields, IncomingBody, OutgoingBody, OutgoingResponse, ResponseOutparam } from 'wasi:http/types@0.2.12';
import { bytesOf, textOf } from './text.js';

/** A request as the host hands it over: { method, path, headers, body() }. */
export function requestOf(incoming) {
  const method = incoming.method();
  const headers = Object.fromEntries(incoming.headers().entries().map(([name, value]) => [name.toLowerCase(), textOf(value)]));
  return {
    method: (method.val ?? method.tag).toUpperCase(),
    path: decodeURIComponent((incoming.pathWithQuery() ?? '/').split('?')[0]),
    headers,
    body: most => bodyOf(incoming, most),
  };
}

/** The whole body; null where it is longer than `most` bytes. */
function bodyOf(incoming, most) {
  const stream = incoming.consume().stream();
  const parts = [];
  let length = 0;
  for (;;) {
    let part;
    try {
      part = stream.blockingRead(65536);
    } catch (error) {
      if ((error.payload ?? error)?.tag === 'closed') break;
      throw error;
    }
    parts.push(part);
    length += part.length;
    if (length > most) return null;
  }
  const body = new Uint8Array(length);
  parts.reduce((at, part) => (body.set(part, at), at + part.length), 0);
  return body;
}

/** Sends an answer of a status and a line of text. */
export function send(out, status, line, headers = {}) {
  const body = bytesOf(`${line}\n`);
  const all = { 'content-type': 'text/plain; charset=utf-8', 'content-length': `${body.length}`, ...headers };
  const response = new OutgoingResponse(Fields.fromList(Object.entries(all).map(([name, value]) => [name, bytesOf(value)])));
  response.setStatusCode(status);
  const outgoing = response.body();
  ResponseOutparam.set(out, { tag: 'ok', val: response });
  const stream = outgoing.write();
  stream.blockingWriteAndFlush(body);
  stream[Symbol.dispose]();
  OutgoingBody.finish(outgoing, null);
}
