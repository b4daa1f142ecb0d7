// What libp2p 3 takes for granted and Node.js 20 does not have yet.
import WebSocket from 'ws'

Promise.withResolvers ??= function () {
  let resolve, reject
  const promise = new this((a, b) => { resolve = a; reject = b })
  return { promise, resolve, reject }
}
globalThis.WebSocket ??= WebSocket
