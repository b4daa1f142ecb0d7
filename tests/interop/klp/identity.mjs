// Certificates, introductions and tickets (01-identity.md, sections 3 to 5).
import { base58btc } from 'multiformats/bases/base58'
import { equal, hex, Refusal, refuse, sha256, span, utf8 } from './bytes.mjs'
import { encode } from './cbor.mjs'
import { open, seal, signedBy } from './cose.mjs'
import { ADDRESS, CERTIFICATE_LIFE, ROOT_CERTIFICATE_LIFE, SKEW, TICKET_LIFE, TICKET_LINE } from './limits.mjs'
import { Acceptance, Certificate, enums, Revocation, RevocationHead, Ticket } from './statements.mjs'

/** Certifies a node's key for its owner; the key accepts. */
export function introduce ({ owner, subject, nextKey, now, life = CERTIFICATE_LIFE, rights = [enums.right.call] }) {
  const certificate = seal(Certificate, {
    subject: subject.key,
    kind: enums.kind.node,
    owner: owner.key,
    rights,
    issued: now,
    expires: now + life,
    seq: now,
    nextKey: sha256(nextKey)
  }, owner)
  const acceptance = seal(Acceptance, { certificate: certificate.id, time: now }, subject)
  return { certificate: certificate.bytes, acceptance: acceptance.bytes }
}

/** The six checks of section 3; `revoked` has the ids of certificates, in hex, that the reader knows to be revoked. Gives the certificate. */
export function checkIntroduction (introduction, now, revoked = new Set()) {
  const certificate = open(Certificate, introduction.certificate)
  const acceptance = open(Acceptance, introduction.acceptance)
  const c = certificate.value
  if (!signedBy(certificate, c.owner)) refuse('signature', 'a certificate that its owner did not sign')
  if (!signedBy(acceptance, c.subject)) refuse('signature', 'an acceptance of another key')
  if (!equal(acceptance.value.certificate, certificate.id)) refuse('signature', 'an acceptance of another certificate')
  if ((c.node !== undefined) !== (c.kind === enums.kind.agent)) refuse('malformed', 'a node without an agent, or the other way round')
  if (now > c.expires || span(c.issued, c.expires) > ROOT_CERTIFICATE_LIFE) refuse('expired', 'a certificate')
  if (c.issued > now + SKEW) refuse('clock', 'a certificate')
  if (revoked.has(hex(certificate.id))) refuse('revoked', 'a certificate')
  return { ...c, id: certificate.id }
}

export const certifiesNode = (certificate, node) =>
  certificate.kind === enums.kind.node && equal(certificate.subject, node)
export const certifiesAgent = (certificate, agent, node) =>
  certificate.kind === enums.kind.agent && equal(certificate.subject, agent) && equal(certificate.node, node)
export const hasRight = (certificate, right) => certificate.rights.includes(enums.right[right])

/** One line that says where a node is and whose it is. */
export function writeTicket ({ owner, node, introduction, addresses, exchange, now }) {
  const ticket = seal(Ticket, {
    node: node.key, owner: owner.key, introduction, addresses, exchange, issued: now, expires: now + TICKET_LIFE
  }, node)
  return 'kos1' + base58btc.encode(ticket.bytes).slice(1)
}

/** Reads a line; refused with the words of section 5: form, damaged, expired, certificate. */
export function readTicket (line, now) {
  const text = line.trim()
  if (!text.startsWith('kos1') || text.length - 4 > TICKET_LINE) refuse('form', 'not a ticket')
  let ticket
  try { ticket = open(Ticket, base58btc.decode('z' + text.slice(4))) } catch (cause) { return refuse('damaged', cause.message) }
  const t = ticket.value
  if (now > t.expires || span(t.issued, t.expires) > TICKET_LIFE) refuse('expired', 'a ticket')
  try {
    const certificate = checkIntroduction(t.introduction, now)
    if (!signedBy(ticket, t.node) || !certifiesNode(certificate, t.node) || !equal(certificate.owner, t.owner)) {
      refuse('signature', 'what does not belong together')
    }
    if (t.addresses.some(one => utf8(one).length > ADDRESS)) refuse('signature', 'an address that is too long')
    return { ...t, statement: ticket.bytes, nextKey: certificate.nextKey }
  } catch (cause) {
    throw cause instanceof Refusal ? new Refusal('certificate', cause.code) : cause
  }
}

/** The running digest of a list of revocations (05-grants.md, section 5). */
export const revocationRoot = targets =>
  targets.reduce((before, target) => sha256(utf8('kos/revocations/1'), before, encode(target)), new Uint8Array(32))

/**
 * Reads a whole list from its beginning, as `revocation.since` gives it: by the owner's own key, without gaps, and as
 * long as the head says. Gives the ids of the targets, in hex.
 */
export function readRevocations ({ revocations, head }, owner) {
  const list = revocations.map(bytes => open(Revocation, bytes))
  list.forEach(({ value, signer }, i) => {
    if (!equal(value.issuer, owner) || !equal(signer, owner)) refuse('signature', 'a revocation of somebody else')
    if (value.seq !== i + 1) refuse('malformed', 'a revocation is missing')
  })
  const targets = list.map(({ value }) => value.target)
  if (head) {
    const { value, signer } = open(RevocationHead, head)
    if (!equal(value.owner, owner) || !equal(signer, owner)) refuse('signature', 'a head of somebody else')
    if (value.seq !== list.length || !equal(value.root, revocationRoot(targets))) refuse('signature', 'another list than the head tells of')
  } else if (list.length > 0) refuse('malformed', 'a list without its head')
  return new Set(targets.map(hex))
}
