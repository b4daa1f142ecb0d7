// Ed25519 keys and their names (01-identity.md, sections 1 and 2; 02-envelope.md, section 3).
import { createPrivateKey, createPublicKey, sign as cryptoSign, verify as cryptoVerify } from 'node:crypto'
import { base58btc } from 'multiformats/bases/base58'
import { concat, equal, refuse, sha256, unhex, utf8 } from './bytes.mjs'

const P = (1n << 255n) - 19n
const L = (1n << 252n) + 27742317777372353535851937790883648493n
const D = 37095705934669439343138083508754565189542113879843219016388785533085940283555n
const SIGN = 1n << 255n
// The y of the eight points of small order: 0 (order 4), 1 (the neutral point), -1 (order 2), and two of order 8.
const SMALL = new Set([
  0n, 1n, P - 1n,
  little(unhex('26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05')),
  little(unhex('c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a'))
])

function little (bytes) {
  return BigInt('0x' + Buffer.from(bytes).reverse().toString('hex'))
}
function power (base, exponent) {
  let out = 1n
  for (let b = base % P, e = exponent; e > 0n; e >>= 1n, b = b * b % P) if (e & 1n) out = out * b % P
  return out
}

/** Why 32 bytes are no key: 'weak', 'point', or null when they are one. */
export function keyFault (bytes) {
  if (bytes.length !== 32) return 'point'
  const raw = little(bytes)
  const y = raw % SIGN
  // Small order first, in every spelling: modulo p, with and without the sign bit.
  if (SMALL.has(y % P)) return 'weak'
  if (y >= P) return 'point'
  // x² = (y² - 1) / (d y² + 1) must be a square; x = 0 only happens for the weak y = 1 and y = -1.
  const yy = y * y % P
  const square = (yy - 1n) * (D * yy + 1n) % P
  return power((square + P) % P, (P - 1n) / 2n) === 1n ? null : 'point'
}
const good = new Map()
export function checkKey (bytes) {
  const name = Buffer.from(bytes).toString('hex')
  if (!good.has(name)) {
    if (good.size > 4096) good.clear()
    good.set(name, keyFault(bytes))
  }
  return good.get(name) === null ? bytes : refuse('malformed', `a ${good.get(name)} key`)
}

const PKCS8 = unhex('302e020100300506032b657004220420')
const SPKI = unhex('302a300506032b6570032100')
const publicKey = raw => createPublicKey({ key: Buffer.from(concat(SPKI, raw)), format: 'der', type: 'spki' })

/** A key pair of a 32-byte seed: `{seed, key, sign}`. */
export function keyPair (seed) {
  const secret = createPrivateKey({ key: Buffer.from(concat(PKCS8, seed)), format: 'der', type: 'pkcs8' })
  const key = new Uint8Array(createPublicKey(secret).export({ format: 'der', type: 'spki' }).subarray(SPKI.length))
  return { seed, key, sign: message => new Uint8Array(cryptoSign(null, message, secret)) }
}

/**
 * Strict verification. OpenSSL, behind node:crypto, computes R' = sB - hA and compares its encoding with R,
 * without the cofactor; what it does not look at is done here.
 */
export function verify (key, message, signature) {
  if (signature.length !== 64) return false
  checkKey(key)
  if (little(signature.subarray(32)) >= L) return false
  if (SMALL.has(little(signature.subarray(0, 32)) % SIGN % P)) return false
  return cryptoVerify(null, message, publicKey(key), signature)
}

const DID = 'did:key:'
const ED25519 = new Uint8Array([0xed, 0x01])
const PEER = unhex('002408011220')

export const did = key => DID + base58btc.encode(concat(ED25519, key))
export const peerId = key => base58btc.encode(concat(PEER, key)).slice(1)

function tagged (text, tag) {
  let raw
  try { raw = base58btc.decode('z' + text) } catch { refuse('malformed', 'no base58') }
  if (raw.length !== tag.length + 32 || !equal(raw.subarray(0, tag.length), tag)) refuse('malformed', 'the name of no Ed25519 key')
  return checkKey(raw.slice(tag.length))
}
export function parseDid (text) {
  return text.startsWith(DID + 'z') ? tagged(text.slice(DID.length + 1), ED25519) : refuse('malformed', 'no did:key')
}
export const parsePeerId = text => tagged(text, PEER)

/** Six numbers of 11 bits, indices into the English word list of BIP-39. */
export function fingerprint (key) {
  const bits = BigInt('0x' + Buffer.from(sha256(utf8('kos/fingerprint/1'), key)).toString('hex')) >> (256n - 66n)
  return Array.from({ length: 6 }, (_, i) => Number((bits >> BigInt(11 * (5 - i))) & 2047n))
}
