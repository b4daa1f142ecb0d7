// Hello (03-session.md, section 3): made for the other side, and judged as it came.
import { equal, random, refuse, sha256, span } from './bytes.mjs'
import { open, seal, signedBy } from './cose.mjs'
import { IN_FLIGHT, MESSAGE, SKEW, UNREAD, UNREAD_LEAST, FRAME } from './limits.mjs'
import { Hello } from './statements.mjs'

/** 2 is 1 with packed frames. */
export const VERSIONS = [1, 2]
export const packs = versions => versions.some(version => Number(version) === 2)

/** The dialler's Hello. `contact` has what is shown to a node whose owner is pinned: introduction, revocations, wants. */
export function makeHello ({ pair, to, now, session, memory, unread = UNREAD, contact = {} }) {
  return seal(Hello, {
    from: pair.key,
    to,
    nonce: random(16),
    time: now,
    versions: VERSIONS,
    session,
    limits: { inFlight: IN_FLIGHT, unread, message: MESSAGE },
    introduction: contact.introduction,
    revocations: contact.introduction && (contact.revocations ?? 0),
    offers: [],
    wants: contact.wants ?? [],
    outcomes: [],
    memory
  }, pair)
}

/**
 * The six checks, in their order. `ours` is our own Hello's bytes when we dialled, else null;
 * `seen` tells whether a nonce of this sender was there before. Gives the fields.
 */
export function checkHello (bytes, { peer, receiver, ours = null, now, seen = () => false }) {
  const hello = open(Hello, bytes)
  const h = hello.value
  if (!signedBy(hello, peer) || !equal(h.from, peer) || !equal(h.to, receiver)) refuse('not_for_me', 'a Hello')
  if (ours ? !h.answers || !equal(h.answers, sha256(ours)) : h.answers !== undefined) refuse('malformed', 'an answer to another Hello')
  if (h.limits.inFlight < 1 || h.limits.unread < UNREAD_LEAST || h.limits.message < FRAME) refuse('malformed', 'unusable limits')
  if (h.memory.every(byte => byte === 0)) refuse('malformed', 'no memory')
  if (Math.abs(span(h.time, now)) > SKEW) refuse('clock', 'a Hello')
  if (seen(h.nonce)) refuse('replay', 'a Hello')
  if (!h.versions.some(version => VERSIONS.includes(Number(version)))) refuse('version', 'no common version')
  return h
}

/** The limits of a session: the smaller of both sides', item by item. */
export const agree = (a, b) => ({
  inFlight: Math.min(Number(a.inFlight), Number(b.inFlight)),
  unread: Math.min(Number(a.unread), Number(b.unread)),
  message: Math.min(Number(a.message), Number(b.message))
})
