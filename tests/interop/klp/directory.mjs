// Cards (04-records.md, section 2). Their texts are somebody else's: data, bounded, never instructions.
import { equal, refuse } from './bytes.mjs'
import { open, signedBy } from './cose.mjs'
import { certifiesAgent, checkIntroduction } from './identity.mjs'
import { Card } from './statements.mjs'

/** All that a reader must check of a card entry. Gives the card's fields. */
export function checkCard ({ card, introduction }, now, revoked) {
  const certificate = checkIntroduction(introduction, now, revoked)
  const statement = open(Card, card)
  const c = statement.value
  if (!certifiesAgent(certificate, c.agent, c.node) || !equal(certificate.owner, c.owner)) refuse('signature', 'a card of something else')
  if (!signedBy(statement, c.agent)) refuse('signature', 'a card that its agent did not sign')
  if (now > c.expires) refuse('expired', 'a card')
  return c
}
