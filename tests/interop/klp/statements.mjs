// Every statement with its domain and structure (klp.cddl), and the structures made of them.
import { STATEMENT } from './limits.mjs'
import { any, bytes, list, oneOf, OPTIONAL, set, struct, text, texts, uint } from './shape.mjs'
import { checkKey } from './keys.mjs'

const key = (() => {
  const raw = bytes(32)
  return { read: v => checkKey(raw.read(v)), write: raw.write }
})()
const exchange = bytes(32)
const digest = bytes(32)
const nonce = bytes(16)
const name = text(64)
const longName = text(128)
const line = text(512)
const address = text(256)
// In a ticket a longer address is named by whoever reads the ticket (01-identity.md, section 5).
const ticketAddress = text(STATEMENT)
const signed = bytes(0, STATEMENT)
const kind = { node: 1, agent: 2 }
const right = { grant: 1, call: 2, serve: 3 }
const status = { answered: 1, failed: 2, cancelled: 3, stopped: 4, interrupted: 5 }
export const enums = { kind, right, status }

// The profile of an argument's name and value is that of 00-overview.md, section 6: NAME and ARGUMENT.
const args = texts(16, text(64), text(16384))

export const introduction = struct({ certificate: [1, signed], acceptance: [2, signed] })
export const negotiatedOne = struct({
  name: [1, longName], outcome: [2, oneOf(1, 2, 3)], reason: [3, line], calls: [4, uint, OPTIONAL], until: [5, uint, OPTIONAL]
})
const helloLimits = struct({ inFlight: [1, uint], unread: [2, uint], message: [3, uint] })
const budget = struct({ calls: [1, uint, OPTIONAL], bytes: [2, uint, OPTIONAL], window: [3, oneOf(1, 2)] })

const type = (domain, fields) => ({ domain, shape: struct(fields) })

export const Certificate = type('kos/certificate/1', {
  subject: [1, key],
  kind: [2, oneOf(1, 2)],
  owner: [3, key],
  node: [4, key, OPTIONAL],
  rights: [5, list(8, oneOf(1, 2, 3))],
  issued: [6, uint],
  expires: [7, uint],
  seq: [8, uint],
  nextKey: [9, digest]
})
export const Acceptance = type('kos/acceptance/1', { certificate: [1, digest], time: [2, uint] })
export const Ticket = type('kos/ticket/1', {
  node: [1, key],
  owner: [2, key],
  introduction: [3, introduction],
  addresses: [4, list(16, ticketAddress)],
  exchange: [5, exchange],
  issued: [6, uint],
  expires: [7, uint]
})
export const NodeRecord = type('kos/node/1', {
  node: [1, key], addresses: [2, list(16, address)], exchange: [3, exchange], seq: [4, uint], issued: [5, uint], expires: [6, uint]
})
export const RelayOffer = type('kos/relays/1', {
  node: [1, key], relays: [2, list(4, address)], seq: [3, uint], issued: [4, uint], expires: [5, uint]
})
export const Card = type('kos/card/1', {
  agent: [1, key],
  owner: [2, key],
  node: [3, key],
  name: [4, name],
  description: [5, line],
  kind: [6, name],
  capabilities: [7, list(16, struct({ name: [1, name], arguments: [2, set(64, name)] }))],
  tags: [8, set(8, name)],
  seq: [9, uint],
  issued: [10, uint],
  expires: [11, uint]
})
export const Grant = type('kos/grant/1', {
  issuer: [1, key],
  holder: [2, key, OPTIONAL],
  node: [3, key],
  agent: [4, key],
  capability: [5, name],
  arguments: [6, args, OPTIONAL],
  budget: [7, budget],
  issued: [8, uint],
  expires: [9, uint],
  parent: [10, digest, OPTIONAL],
  seq: [11, uint]
})
export const Revocation = type('kos/revocation/1', {
  issuer: [1, key], kind: [2, oneOf(1, 2)], target: [3, digest], seq: [4, uint], issued: [5, uint]
})
export const RevocationHead = type('kos/revocation-head/1', { owner: [1, key], seq: [2, uint], root: [3, digest], time: [4, uint] })
export const Order = type('kos/order/1', {
  caller: [1, key],
  node: [2, key],
  agent: [3, key],
  capability: [4, name],
  grant: [5, digest, OPTIONAL],
  request: [6, digest],
  maxBytes: [7, uint],
  issued: [8, uint],
  expires: [9, uint],
  nonce: [10, nonce]
})
export const Outcome = type('kos/outcome/1', {
  order: [1, digest],
  agent: [2, key],
  status: [3, oneOf(1, 2, 3, 4, 5)],
  answer: [4, digest],
  bytes: [5, uint],
  tookMs: [6, uint],
  finished: [7, uint]
})
export const Acknowledgement = type('kos/acknowledgement/1', { outcome: [1, digest], bytes: [2, uint], time: [3, uint] })
export const Checkpoint = type('kos/checkpoint/1', { origin: [1, key], size: [2, uint], root: [3, digest], time: [4, uint] })
export const Errand = type('kos/errand/1', {
  caller: [1, key], node: [2, key], request: [3, digest], answer: [4, exchange], issued: [5, uint], expires: [6, uint], nonce: [7, nonce]
})
export const Exchange = type('kos/exchange/1', { node: [1, key], exchange: [2, exchange], issued: [3, uint], expires: [4, uint] })
export const Hello = type('kos/hello/1', {
  from: [1, key],
  to: [2, key],
  nonce: [3, nonce],
  time: [4, uint],
  versions: [5, list(16, uint)],
  session: [6, nonce],
  limits: [7, helloLimits],
  answers: [8, digest, OPTIONAL],
  introduction: [9, introduction, OPTIONAL],
  revocations: [10, uint, OPTIONAL],
  offers: [11, set(64, longName)],
  wants: [12, set(64, longName)],
  outcomes: [13, list(64, negotiatedOne)],
  memory: [14, bytes(8)]
})

// ---- Requests and answers (03-session.md, section 6), and the receipt file (06-receipts.md, section 5).
export const request = struct({ kind: [1, name], body: [2, any] })
export const empty = struct({})
export const pong = struct({ time: [1, uint] })
export const query = struct({ words: [1, line, OPTIONAL], capability: [2, name, OPTIONAL], agent: [3, key, OPTIONAL] })
export const cards = struct({ entries: [1, list(256, struct({ card: [1, signed], introduction: [2, introduction] }))] })
export const wants = struct({ wants: [1, list(128, longName)] })
export const negotiated = struct({ outcomes: [1, list(64, negotiatedOne)] })
export const call = struct({
  order: [1, signed], chain: [2, list(3, signed)], salt: [3, nonce], arguments: [4, args], issuers: [5, list(3, introduction)]
})
export const answered = struct({ outcome: [1, signed], introduction: [2, introduction] })
export const grants = struct({ chains: [1, list(256, list(256, signed))] })
export const since = struct({ owner: [1, key], seq: [2, uint] })
export const revocations = struct({ revocations: [1, list(256, signed)], head: [2, signed, OPTIONAL] })
export const acknowledge = struct({ order: [1, digest], acknowledgement: [2, signed] })
export const missing = struct({ orders: [1, list(256, digest)] })
export const acknowledgements = struct({ entries: [1, list(256, acknowledge)] })
export const relays = struct({ offer: [1, signed] })
export const pairOpen = struct({ mailbox: [1, name], run: [2, nonce], share: [3, bytes(32)] })
export const pairOpened = struct({ share: [1, bytes(32)] })
export const pairProve = struct({ mailbox: [1, name], run: [2, nonce], sealed: [3, bytes(0, 2064)], proof: [4, bytes(32)] })
export const pairProved = struct({ sealed: [1, bytes(0, 2064)], proof: [2, bytes(32)] })
export const pairFinish = struct({ mailbox: [1, name], run: [2, nonce], proof: [3, bytes(32)] })
export const pairFinished = struct({ first: [1, oneOf(1, 2, 3)] })
export const pairIdentity = struct({ ticket: [1, signed], name: [2, name, OPTIONAL] })
const sealedQuestion = struct({ recipient: [1, bytes(8)], encapsulated: [2, bytes(32)], ciphertext: [3, bytes(0, 991232)] })
export const forward = struct({
  to: [1, key],
  ttl: [2, uint],
  path: [3, list(32, key, 1)],
  chain: [4, list(3, signed)],
  issuers: [5, list(3, introduction)],
  question: [6, sealedQuestion, OPTIONAL]
})
export const forwarded = struct({ end: [1, bytes(0, 991232), OPTIONAL], key: [2, signed, OPTIONAL] })
export const sharedEvent = struct({ name: [1, name], details: [2, bytes(0, 4096)] })
export const receipt = struct({
  version: [1, oneOf(1)],
  order: [2, signed],
  caller: [3, introduction],
  outcome: [4, signed, OPTIONAL],
  agent: [5, introduction, OPTIONAL],
  acknowledgement: [6, signed, OPTIONAL],
  salt: [7, nonce],
  arguments: [8, args],
  answer: [9, bytes(0, 1048576), OPTIONAL]
})

/** Every kind of request, with the structure that it asks with and the one that answers. */
export const KINDS = {
  ping: [empty, pong],
  'link.introduce': [introduction, empty],
  'directory.query': [query, cards],
  'capability.request': [wants, negotiated],
  'agent.call': [call, answered],
  'grant.list': [empty, grants],
  'grant.deliver': [grants, empty],
  'revocation.since': [since, revocations],
  'revocation.deliver': [revocations, empty],
  'receipt.acknowledge': [acknowledge, empty],
  'receipt.missing': [missing, acknowledgements],
  'relay.list': [empty, relays],
  'pair.open': [pairOpen, pairOpened],
  'pair.prove': [pairProve, pairProved],
  'pair.finish': [pairFinish, pairFinished],
  forward: [forward, forwarded]
}
