// Pairing (09-pairing.md): CPace over ristretto255, what is sealed with its key, and what is proved with it.
import { createCipheriv, createDecipheriv, createHash, createHmac, hkdfSync } from 'node:crypto'
import { ristretto255, ristretto255_hasher as hasher } from '@noble/curves/ed25519.js'
import { concat, equal, refuse, utf8 } from './bytes.mjs'
import { open as verified } from './cose.mjs'
import { unpack } from './shape.mjs'
import { Certificate, Ticket, pairIdentity } from './statements.mjs'

const DOMAIN = utf8('kos/pair/1')
const GROUP = utf8('CPaceRistretto255')
const { Point } = ristretto255

/** Parts, each behind its length. */
const lv = (...parts) => concat(...parts.map(part => {
  const length = []
  let rest = part.length
  for (; rest >= 0x80; rest >>= 7) length.push((rest & 0x7f) | 0x80)
  return concat(new Uint8Array([...length, rest]), part)
}))
const sha512 = bytes => new Uint8Array(createHash('sha512').update(bytes).digest())
const scalar = bytes => bytes.reduceRight((sum, byte) => (sum << 8n) | BigInt(byte), 0n) % Point.Fn.ORDER
const hmac = (key, bytes) => new Uint8Array(createHmac('sha256', key).update(bytes).digest())

function half (password, { mailbox, issuer, joiner, run }, entropy) {
  const zeros = new Uint8Array(Math.max(0, 128 - lv(password).length - lv(GROUP).length - 1))
  const channel = lv(DOMAIN, mailbox, issuer, joiner)
  const point = hasher.deriveToCurve(sha512(lv(GROUP, password, zeros, channel, run)))
  const secret = scalar(entropy)
  return { secret, share: point.multiply(secret).toBytes() }
}

function keys (mine, theirs, [Ya, Yb], { mailbox, issuer, joiner, run }) {
  const agreed = Point.fromBytes(theirs).multiply(mine.secret)
  if (agreed.equals(Point.ZERO)) refuse('malformed', 'the neutral element')
  const isk = sha512(lv(utf8('CPaceRistretto255_ISK'), run, agreed.toBytes(), Ya, utf8('joiner'), Yb, utf8('issuer')))
  return {
    transcript: lv(DOMAIN, mailbox, issuer, joiner, run, Ya, Yb),
    key: purpose => new Uint8Array(hkdfSync('sha256', isk, DOMAIN, utf8(purpose), 32))
  }
}

function seal ({ key, transcript }, role, plain) {
  const cipher = createCipheriv('aes-256-gcm', key(`${role} seal`), new Uint8Array(12)).setAAD(transcript)
  return concat(cipher.update(plain), cipher.final(), cipher.getAuthTag())
}
function unseal ({ key, transcript }, role, sealed) {
  const cipher = createDecipheriv('aes-256-gcm', key(`${role} seal`), new Uint8Array(12)).setAAD(transcript)
  cipher.setAuthTag(sealed.subarray(-16))
  return concat(cipher.update(sealed.subarray(0, -16)), cipher.final())
}

/** Owner key and hash of the next one, out of an identity. */
function who (identity) {
  const { value } = verified(Ticket, unpack(pairIdentity, identity).ticket)
  return [value.owner, verified(Certificate, value.introduction.certificate).value.nextKey]
}

/** One whole pairing, both sides of it, from everything that goes into it. */
export function pairing ({ mailbox, password, issuer, joiner, joinerEntropy, issuerEntropy, joinerIdentity, issuerIdentity }) {
  const run = joinerEntropy.subarray(0, 16)
  const parties = { mailbox: utf8(mailbox), issuer, joiner, run }
  const a = half(utf8(password), parties, joinerEntropy.subarray(16))
  const b = half(utf8(password), parties, issuerEntropy)
  const [mine, theirs] = [keys(a, b.share, [a.share, b.share], parties), keys(b, a.share, [a.share, b.share], parties)]
  const [sealedJ, sealedI] = [seal(mine, 'joiner', joinerIdentity), seal(theirs, 'issuer', issuerIdentity)]
  if (!equal(unseal(theirs, 'joiner', sealedJ), joinerIdentity)) throw new Error('the two sides have no common key')
  const attempt = hmac(mine.key('attempt'), concat(mine.transcript, lv(sealedJ)))
  const whole = concat(mine.transcript, lv(sealedJ, sealedI, ...who(joinerIdentity), ...who(issuerIdentity)))
  return {
    open: { mailbox, run, share: a.share },
    opened: { share: b.share },
    prove: { mailbox, run, sealed: sealedJ, proof: attempt },
    proved: { sealed: sealedI, proof: hmac(theirs.key('issuer proof'), whole) },
    finish: { mailbox, run, proof: hmac(mine.key('joiner proof'), whole) }
  }
}

/** What becomes of a code: tries at moments, right ones carried to the end. */
export function life (made, tries) {
  let [wrong, end] = [0, null]
  return tries.map(({ now, right }) => {
    if (end !== null) return 'burnt'
    if (now >= made + 600000) return 'expired'
    if (right) { end = 'used'; return 'paired' }
    if (++wrong === 3) end = 'burnt'
    return `wrong_code, ${3 - wrong} left`
  })
}
