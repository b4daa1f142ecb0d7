// Frames (03-session.md, section 2): a header of 16 bytes and a body.
import { inflateRawSync } from 'node:zlib'
import { concat, refuse, utf8 } from './bytes.mjs'
import { FRAME, PACKED as PACKED_LEAST } from './limits.mjs'
import { codeOf, numberOf } from './refusals.mjs'

export const KINDS = ['', 'hello', 'request', 'response', 'chunk', 'credit', 'cancel', 'event', 'error', 'bye']
const HEADER = 16
const MORE = 1
const AGAIN = 2
const PACKED = 4
const NO_ID = new Set(['hello', 'event', 'bye'])
const FLAGS = { request: MORE | AGAIN | PACKED, response: MORE | PACKED, chunk: PACKED }
const LENGTH = { hello: [1, FRAME], chunk: [1, FRAME], credit: [8, 8], cancel: [0, 0], error: [2, 514], bye: [2, 514] }

export function frame (kind, id, body = new Uint8Array(), { more = false, again = false } = {}) {
  const header = new DataView(new ArrayBuffer(HEADER))
  header.setUint32(0, body.length)
  header.setUint8(4, KINDS.indexOf(kind))
  header.setUint8(5, (more ? MORE : 0) | (again ? AGAIN : 0))
  header.setBigUint64(8, BigInt(id))
  return concat(new Uint8Array(header.buffer), body)
}

/** A message in as many frames as it needs. */
export function fragments (kind, id, message, options) {
  const out = []
  for (let at = 0; at === 0 || at < message.length; at += FRAME) {
    out.push(frame(kind, id, message.subarray(at, at + FRAME), { ...options, more: at + FRAME < message.length }))
  }
  return out
}

export const creditFrame = (id, cost) => {
  const body = new DataView(new ArrayBuffer(8))
  body.setBigUint64(0, BigInt(cost))
  return frame('credit', id, new Uint8Array(body.buffer))
}
export const number = body => new DataView(body.buffer, body.byteOffset, 8).getBigUint64(0)

/** An error, or a bye: `code` null means that nothing is wrong. */
export function refusalFrame (kind, id, code, message = '') {
  const n = numberOf(code)
  return frame(kind, id, concat(new Uint8Array([n >> 8, n & 255]), utf8(message).subarray(0, 512)))
}
export function readRefusal (body) {
  let text
  try { text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(body.subarray(2)) } catch { refuse('malformed', 'a refusal that is no UTF-8') }
  return { code: codeOf((body[0] << 8) | body[1]), text }
}

/** What a packed body was before: raw DEFLATE, whole, and nothing behind it. */
function unpack (packed) {
  let done
  try { done = inflateRawSync(packed, { info: true, maxOutputLength: FRAME }) } catch (error) {
    refuse(error.code === 'ERR_BUFFER_TOO_LARGE' ? 'too_large' : 'malformed', 'a packed body')
  }
  if (done.engine.bytesWritten !== packed.length) refuse('malformed', 'bytes after the end of a packed body')
  if (done.buffer.length < PACKED_LEAST) refuse('malformed', 'a packed body that is too short for it')
  return new Uint8Array(done.buffer)
}

/**
 * Reads the frame at the beginning of some bytes: null while it has not come whole. Refused from the header alone, unless it is packed.
 * `packs` says whether both sides speak version 2.
 */
export function readFrame (bytes, packs = true) {
  if (bytes.length < HEADER) return null
  const view = new DataView(bytes.buffer, bytes.byteOffset, HEADER)
  const length = view.getUint32(0)
  const kind = KINDS[view.getUint8(4)]
  const flags = view.getUint8(5)
  const id = view.getBigUint64(8)
  if (!kind) refuse('malformed', 'an unknown kind of frame')
  if (flags & ~(FLAGS[kind] ?? 0)) refuse('malformed', 'a flag that this kind does not have')
  if (view.getUint16(6) !== 0) refuse('malformed', 'a reserved field')
  if ((id === 0n) !== NO_ID.has(kind)) refuse('malformed', 'an id where there is none, or none where there is one')
  if (length > FRAME) refuse('too_large', 'a frame')
  const [least, most] = LENGTH[kind] ?? [0, FRAME]
  if (length < least || length > most) refuse('malformed', `a ${kind} of ${length} bytes`)
  const more = (flags & MORE) !== 0
  const packed = (flags & PACKED) !== 0
  if ((more || packed) && length === 0) refuse('malformed', 'an empty fragment, or nothing packed')
  if (packed && !packs) refuse('malformed', 'a packed body, which was not agreed')
  if (bytes.length < HEADER + length) return null
  const body = bytes.slice(HEADER, HEADER + length)
  return { size: HEADER + length, kind, id, more, again: (flags & AGAIN) !== 0, body: packed ? unpack(body) : body }
}
