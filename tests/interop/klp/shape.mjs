// Structures of klp.cddl as values: each shape turns a CBOR value into a plain object, and back.
// A field is [number, shape], or [number, shape, OPTIONAL]; what is not named here is refused.
import { compare, refuse, utf8 } from './bytes.mjs'
import { decode, encode } from './cbor.mjs'

export const OPTIONAL = true
const isUint = value => (Number.isSafeInteger(value) || typeof value === 'bigint') && value >= 0
const plain = (test, what) => {
  const check = value => test(value) ? value : refuse('malformed', `not ${what}`)
  return { read: check, write: check }
}

export const uint = plain(isUint, 'an unsigned integer')
export const any = plain(() => true, 'anything')
export const bytes = (least, most = least) =>
  plain(v => v instanceof Uint8Array && v.length >= least && v.length <= most, `bytes of ${least} to ${most}`)
export const text = most => plain(v => typeof v === 'string' && utf8(v).length <= most, `a text of at most ${most} bytes`)
export const oneOf = (...values) => plain(v => values.includes(v), `one of ${values}`)

export const list = (most, shape, least = 0) => {
  const each = way => value => Array.isArray(value) && value.length >= least && value.length <= most
    ? value.map(item => shape[way](item))
    : refuse('malformed', `not an array of ${least} to ${most}`)
  return { read: each('read'), write: each('write') }
}

/** An array of texts, sorted by their bytes, without duplicates. */
export const set = (most, shape) => {
  const inner = list(most, shape)
  const sorted = value => value.forEach((one, i) => i && compare(utf8(value[i - 1]), utf8(one)) >= 0 && refuse('malformed', 'not a sorted set'))
  return {
    read: value => { const out = inner.read(value); sorted(out); return out },
    write: value => { sorted(value); return inner.write(value) }
  }
}

/** A map of texts to texts; a Map here too. */
export const texts = (most, key, value) => {
  const each = way => map => map instanceof Map && map.size <= most
    ? new Map([...map].map(([k, v]) => [key[way](k), value[way](v)]))
    : refuse('malformed', `not a map of at most ${most}`)
  return { read: each('read'), write: each('write') }
}

/** A map with small integer keys. */
export const struct = fields => {
  const entries = Object.entries(fields)
  return {
    read: map => {
      if (!(map instanceof Map)) refuse('malformed', 'not a map')
      const out = {}
      let known = 0
      for (const [name, [number, shape, optional]] of entries) {
        if (map.has(number)) { out[name] = shape.read(map.get(number)); known++ } else if (!optional) refuse('malformed', `${name} is missing`)
      }
      return known === map.size ? out : refuse('malformed', 'an unknown field')
    },
    write: object => {
      for (const name of Object.keys(object)) if (!(name in fields)) refuse('malformed', `no field ${name}`)
      const map = new Map()
      for (const [name, [number, shape, optional]] of entries) {
        if (object[name] !== undefined) map.set(number, shape.write(object[name]))
        else if (!optional) refuse('malformed', `${name} is missing`)
      }
      return map
    }
  }
}

export const pack = (shape, object) => encode(shape.write(object))
export const unpack = (shape, raw) => shape.read(decode(raw))
