// Bytes, and the errors that everything here ends with.
import { createHash, randomBytes } from 'node:crypto'

export const hex = bytes => Buffer.from(bytes).toString('hex')
export const unhex = text => new Uint8Array(Buffer.from(text, 'hex'))
export const utf8 = text => new TextEncoder().encode(text)
export const random = length => new Uint8Array(randomBytes(length))
export const concat = (...parts) => new Uint8Array(Buffer.concat(parts))
export const equal = (a, b) => a.length === b.length && Buffer.compare(a, b) === 0
export const compare = (a, b) => Buffer.compare(a, b)
export const sha256 = (...parts) => {
  const hash = createHash('sha256')
  for (const part of parts) hash.update(part)
  return new Uint8Array(hash.digest())
}

/** The time from one moment to another; a moment may be a bigint when somebody wrote nonsense. */
export const span = (from, to) => Number(to) - Number(from)

/** A refusal by its code (03-session.md, section 7). */
export class Refusal extends Error {
  constructor (code, message = '') {
    super(message ? `${code}: ${message}` : code)
    this.name = 'Refusal'
    this.code = code
  }
}
export const refuse = (code, message) => { throw new Refusal(code, message) }
