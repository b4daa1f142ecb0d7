// Statements: COSE_Sign1 under a domain (02-envelope.md, section 3).
import { equal, refuse, sha256, utf8 } from './bytes.mjs'
import { decode, encode } from './cbor.mjs'
import { checkKey, verify } from './keys.mjs'
import { STATEMENT } from './limits.mjs'
import { pack, unpack } from './shape.mjs'

const ALGORITHM = -19
const structure = (protectedBytes, domain, payload) => encode(['Signature1', protectedBytes, utf8(domain), payload])

/** Signs an object of a type of statements.mjs. Gives `{bytes, id, signer, value}` like `open`. */
export function seal (type, value, pair) {
  const header = encode(new Map([[1, ALGORITHM], [4, pair.key]]))
  const payload = pack(type.shape, value)
  const toSign = structure(header, type.domain, payload)
  const bytes = encode([header, new Map(), payload, pair.sign(toSign)])
  if (bytes.length > STATEMENT) refuse('too_large', 'a statement')
  return { bytes, id: sha256(toSign), signer: pair.key, value }
}

/** Verifies bytes as a statement of one type: `{bytes, id, signer, value}`, or a refusal. */
export function open (type, bytes) {
  if (bytes.length > STATEMENT) refuse('too_large', 'a statement')
  const parts = decode(bytes)
  if (!Array.isArray(parts) || parts.length !== 4) refuse('malformed', 'not an array of four')
  const [header, unprotected, payload, signature] = parts
  if (!(header instanceof Uint8Array && payload instanceof Uint8Array && signature instanceof Uint8Array)) refuse('malformed', 'not byte strings')
  if (!(unprotected instanceof Map) || unprotected.size !== 0) refuse('malformed', 'an unprotected header')
  const fields = decode(header)
  if (!(fields instanceof Map) || fields.size !== 2 || fields.get(1) !== ALGORITHM) refuse('malformed', 'another protected header')
  const signer = fields.get(4)
  if (!(signer instanceof Uint8Array) || signer.length !== 32) refuse('malformed', 'no key of 32 bytes')
  checkKey(signer)
  const value = unpack(type.shape, payload)
  const signedBytes = structure(header, type.domain, payload)
  if (!verify(signer, signedBytes, signature)) refuse('signature', type.domain)
  return { bytes, id: sha256(signedBytes), signer, value }
}

export const signedBy = (statement, key) => equal(statement.signer, key)
