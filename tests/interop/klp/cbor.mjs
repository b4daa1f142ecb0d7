// The strict CBOR profile (02-envelope.md, section 2): one value, one encoding.
// Integers are numbers, or bigints beyond 2^53 - 1; byte strings are Uint8Array; maps are Map.
import { compare, concat, hex, refuse, utf8 } from './bytes.mjs'
import { DEPTH } from './limits.mjs'

const MAX = (1n << 64n) - 1n
const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

function head (major, value) {
  const n = BigInt(value)
  if (n < 0n || n > MAX) refuse('malformed', 'an integer beyond 64 bits')
  const [info, length] = n < 24n ? [Number(n), 0] : n < 256n ? [24, 1] : n < 65536n ? [25, 2] : n < 4294967296n ? [26, 4] : [27, 8]
  const out = new Uint8Array(1 + length)
  out[0] = (major << 5) | info
  for (let i = 0, rest = n; i < length; i++, rest >>= 8n) out[length - i] = Number(rest & 255n)
  return out
}

/** The one encoding of a value. */
export function encode (value, depth = 0) {
  if (value === false) return new Uint8Array([0xf4])
  if (value === true) return new Uint8Array([0xf5])
  if (value === null) return new Uint8Array([0xf6])
  if (typeof value === 'number' || typeof value === 'bigint') {
    if (typeof value === 'number' && !Number.isSafeInteger(value)) refuse('malformed', 'not an integer')
    return value >= 0 ? head(0, value) : head(1, -1n - BigInt(value))
  }
  if (typeof value === 'string') {
    if (!value.isWellFormed()) refuse('malformed', 'half a character')
    const bytes = utf8(value)
    return concat(head(3, bytes.length), bytes)
  }
  if (value instanceof Uint8Array) return concat(head(2, value.length), value)
  if (depth === DEPTH) refuse('malformed', 'nested too deep')
  if (Array.isArray(value)) return concat(head(4, value.length), ...value.map(item => encode(item, depth + 1)))
  if (value instanceof Map) {
    const entries = [...value].map(([key, item]) => {
      if (typeof key === 'object' || typeof key === 'boolean') refuse('malformed', 'a key that is neither integer nor text')
      return [encode(key), encode(item, depth + 1)]
    }).sort((a, b) => compare(a[0], b[0]))
    for (let i = 1; i < entries.length; i++) if (compare(entries[i - 1][0], entries[i][0]) === 0) refuse('malformed', 'a key twice')
    return concat(head(5, entries.length), ...entries.flat())
  }
  return refuse('malformed', `a ${typeof value} has no form`)
}

/** Reads exactly one item, and refuses every other spelling of it. */
export function decode (bytes) {
  let at = 0
  const take = length => {
    if (length > bytes.length - at) refuse('malformed', 'it ends early')
    return bytes.subarray(at, at += length)
  }
  const number = info => {
    if (info < 24) return info
    if (info > 27) refuse('malformed', 'an indefinite or reserved length')
    const raw = take(1 << (info - 24))
    const value = BigInt('0x' + hex(raw))
    if (value < [24n, 256n, 65536n, 4294967296n][info - 24]) refuse('malformed', 'not the shortest form')
    return value <= Number.MAX_SAFE_INTEGER ? Number(value) : value
  }
  const item = depth => {
    const first = take(1)[0]
    const major = first >> 5
    const info = first & 31
    if (major === 7) {
      if (info === 20) return false
      if (info === 21) return true
      if (info === 22) return null
      refuse('malformed', 'a float, undefined or another simple value')
    }
    if (major === 6) refuse('malformed', 'a tag')
    const value = number(info)
    if (major === 0) return value
    if (major === 1) {
      const negative = -1n - BigInt(value)
      return negative >= Number.MIN_SAFE_INTEGER ? Number(negative) : negative
    }
    if (major === 2) return take(value).slice()
    if (major === 3) {
      try { return text.decode(take(value)) } catch { return refuse('malformed', 'a text that is no UTF-8') }
    }
    if (depth === DEPTH) refuse('malformed', 'nested too deep')
    if (value > bytes.length - at) refuse('malformed', 'it ends early')
    if (major === 4) return Array.from({ length: value }, () => item(depth + 1))
    const map = new Map()
    let last = null
    for (let i = 0; i < value; i++) {
      const start = at
      const key = item(depth + 1)
      if (typeof key === 'object' || typeof key === 'boolean') refuse('malformed', 'a key that is neither integer nor text')
      const raw = bytes.subarray(start, at)
      if (last && compare(last, raw) >= 0) refuse('malformed', 'a key twice, or keys out of order')
      last = raw
      map.set(key, item(depth + 1))
    }
    return map
  }
  const value = item(0)
  if (at !== bytes.length) refuse('malformed', 'something follows the item')
  return value
}

/** Diagnostic notation (RFC 8949, section 8), as the vectors write it. */
export function diagnostic (value) {
  if (value instanceof Uint8Array) return `h'${hex(value)}'`
  if (Array.isArray(value)) return `[${value.map(diagnostic).join(', ')}]`
  if (value instanceof Map) return `{${[...value].map(pair => pair.map(diagnostic).join(': ')).join(', ')}}`
  return typeof value === 'string' ? JSON.stringify(value) : String(value)
}
