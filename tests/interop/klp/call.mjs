// Orders, outcomes, acknowledgements (06-receipts.md, sections 1 to 4), and grants as their holder sees them.
import { concat, equal, random, refuse, sha256, utf8 } from './bytes.mjs'
import { encode } from './cbor.mjs'
import { open, seal, signedBy } from './cose.mjs'
import { certifiesAgent, checkIntroduction } from './identity.mjs'
import { ORDER_LIFE } from './limits.mjs'
import { Acknowledgement, Grant, Order, Outcome } from './statements.mjs'

export const requestDigest = (salt, capability, args) =>
  sha256(utf8('kos/request/1'), salt, encode(capability), encode(args))

/**
 * A chain of grants as `grant.list` gives it, if it is one that `holder` can show: linked from the agent's owner
 * down, for one node and one agent. Gives `{chain, grants, id, owner, node, agent, capability}`.
 */
export function readChain (chain, holder) {
  const grants = chain.map(bytes => open(Grant, bytes))
  if (grants.length < 1 || grants.length > 3) refuse('malformed', 'a chain of another length')
  const last = grants.at(-1)
  if (last.value.holder !== undefined && !equal(last.value.holder, holder)) refuse('not_for_me', 'a grant')
  grants.forEach(({ value, signer }, i) => {
    const before = grants[i - 1]
    if (!equal(value.node, last.value.node) || !equal(value.agent, last.value.agent)) refuse('malformed', 'a chain for two agents')
    if (!before && value.parent) refuse('malformed', 'a chain without its beginning')
    if (before && !(value.parent && equal(value.parent, before.id) && before.value.holder && equal(value.issuer, before.value.holder))) {
      refuse('malformed', 'a chain that does not hang together')
    }
  })
  const { node, agent, capability } = last.value
  return { chain, grants, id: last.id, owner: grants[0].value.issuer, node, agent, capability }
}

/** The body of `agent.call`. `grant` is a chain that was read, or null to ask without one. */
export function makeCall ({ pair, caller, node, agent, capability, args, grant = null, maxBytes = 65536, now = Date.now() }) {
  const salt = random(16)
  const order = seal(Order, {
    caller,
    node,
    agent,
    capability,
    grant: grant?.id,
    request: requestDigest(salt, capability, args),
    maxBytes,
    issued: now,
    expires: now + ORDER_LIFE,
    nonce: random(16)
  }, pair)
  return { order, body: { order: order.bytes, chain: grant?.chain ?? [], salt, arguments: args, issuers: [] } }
}

/** All that the caller must check of an answer (section 3). Gives the outcome's statement. */
export function checkAnswer ({ order, answer, chunks, owner, now, revoked }) {
  const outcome = open(Outcome, answer.outcome)
  const { value } = outcome
  const o = order.value
  if (!equal(value.order, order.id)) refuse('signature', 'an outcome of another order')
  if (!equal(value.agent, o.agent) || !signedBy(outcome, o.agent)) refuse('signature', 'an outcome of another agent')
  const certificate = checkIntroduction(answer.introduction, now, revoked)
  if (!certifiesAgent(certificate, o.agent, o.node)) refuse('signature', 'a certificate of something else')
  if (!equal(certificate.owner, owner)) refuse('signature', 'an agent of another owner')
  const whole = concat(...chunks)
  if (!equal(value.answer, sha256(whole)) || value.bytes !== whole.length) refuse('signature', 'another answer than the agent signed')
  return outcome
}

export const acknowledge = ({ pair, outcome, now = Date.now() }) =>
  seal(Acknowledgement, { outcome: outcome.id, bytes: outcome.value.bytes, time: now }, pair)
