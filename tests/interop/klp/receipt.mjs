// Receipt files, checked offline (06-receipts.md, section 5). Revocations are not checked.
import { equal, Refusal, refuse, sha256 } from './bytes.mjs'
import { open, signedBy } from './cose.mjs'
import { requestDigest } from './call.mjs'
import { certifiesAgent, certifiesNode, checkIntroduction, hasRight } from './identity.mjs'
import { RECEIPT } from './limits.mjs'
import { pack, unpack } from './shape.mjs'
import { Acknowledgement, Order, Outcome, receipt as shape } from './statements.mjs'

export const writeReceipt = fields => pack(shape, { version: 1, ...fields })

const belongs = (test, what) => test || refuse('signature', what)

/** `{state, order, outcome, signers, answer}`, or a refusal. */
export function checkReceipt (bytes) {
  if (bytes.length > RECEIPT) refuse('too_large', 'a receipt')
  const r = unpack(shape, bytes)
  try {
    return check(r)
  } catch (error) {
    throw error instanceof Refusal ? new Refusal('signature', error.message) : error
  }
}

function check (r) {
  const order = open(Order, r.order)
  const o = order.value
  const caller = checkIntroduction(r.caller, o.issued)
  belongs(certifiesNode(caller, order.signer) && equal(caller.owner, o.caller) && hasRight(caller, 'call'), 'the certificate of somebody else')
  belongs(equal(o.request, requestDigest(r.salt, o.capability, r.arguments)), 'another question')
  const signers = [{ role: 'caller', key: order.signer, owner: o.caller }]

  belongs((r.outcome === undefined) === (r.agent === undefined), 'an outcome without a certificate, or the other way round')
  const outcome = r.outcome && open(Outcome, r.outcome)
  if (outcome) {
    const v = outcome.value
    belongs(equal(v.order, order.id) && equal(v.agent, o.agent) && signedBy(outcome, o.agent), 'an outcome of another order')
    const agent = checkIntroduction(r.agent, v.finished)
    belongs(certifiesAgent(agent, o.agent, o.node), 'the certificate of something else')
    signers.push({ role: 'agent', key: outcome.signer, owner: agent.owner })
  }
  if (r.answer !== undefined) {
    belongs(outcome && equal(outcome.value.answer, sha256(r.answer)) && outcome.value.bytes === r.answer.length, 'another answer')
  }
  if (r.acknowledgement !== undefined) {
    const ack = open(Acknowledgement, r.acknowledgement)
    belongs(outcome && equal(ack.value.outcome, outcome.id) && ack.value.bytes === outcome.value.bytes &&
      signedBy(ack, order.signer), 'an acknowledgement of something else')
    signers.push({ role: 'acknowledgement', key: ack.signer, owner: o.caller })
  }
  return { state: r.acknowledgement ? 'acknowledged' : outcome ? 'answered' : 'ordered', order, outcome, signers, answer: r.answer }
}
