// Answers over HTTP: tells the time. The engine is QuickJS: the language, without a browser's or Node's interfaces; what the
// app can use of its host stands in wit/world.wit.

import { now } from 'wasi:clocks/wall-clock@0.2.12';
import { requestOf, send } from './http.js';

export const incomingHandler = {
  handle(incoming, out) {
    const request = requestOf(incoming);
    if (request.method !== 'GET' || request.path !== '/') return send(out, 404, 'there is nothing here');
    const time = new Date(Number(now().seconds) * 1000);
    send(out, 200, `it is ${time.toISOString()}`);
  },
};
