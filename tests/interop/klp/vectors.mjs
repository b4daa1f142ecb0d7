// The vectors of specs/vectors that concern a client. Each case either passes or throws why not.
import { readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { base58btc } from 'multiformats/bases/base58'
import { concat, hex, sha256, unhex, utf8 } from './bytes.mjs'
import { checkAnswer, requestDigest } from './call.mjs'
import { decode, diagnostic, encode } from './cbor.mjs'
import { open, seal } from './cose.mjs'
import { frame, readFrame, readRefusal } from './frames.mjs'
import { checkHello } from './hello.mjs'
import { checkIntroduction, readTicket, revocationRoot } from './identity.mjs'
import { did, fingerprint, keyFault, keyPair, parseDid, parsePeerId, peerId } from './keys.mjs'
import { life, pairing } from './pairing.mjs'
import { checkReceipt } from './receipt.mjs'
import { pack, unpack } from './shape.mjs'
import * as types from './statements.mjs'

const same = (found, wanted, what) => {
  const [a, b] = [found, wanted].map(v => typeof v === 'string' ? v : JSON.stringify(v))
  if (a !== b) throw new Error(`${what}: found ${a}, wanted ${b}`)
}
const refused = (run, code, what) => {
  let found = null
  try { run() } catch (error) { found = error.code ?? `no refusal: ${error.stack}` }
  if (found === null) throw new Error(`${what}: accepted, but is to be refused`)
  const wanted = [code].flat()
  if (code !== undefined && !wanted.includes(found)) same(found, wanted.join(' or '), what)
}

// The word of a refusal is fixed by the pages only in part; these are refused by a reader in one way or the other.
const EITHER = new Set(['a detached payload', 'a signature of 63 bytes', 'version 2'])

const FILES = {
  'did_key.json': c => {
    if (c.refused_key) return same(keyFault(unhex(c.refused_key)), c.error, c.why)
    if (c.refused_did !== undefined) return refused(() => parseDid(c.refused_did), 'malformed', c.why)
    const { key } = keyPair(unhex(c.seed))
    same(hex(key), c.public_key, 'key')
    same(did(key), c.did, 'DID')
    same(hex(parseDid(c.did)), c.public_key, 'DID, read')
    same(peerId(key), c.peer_id, 'PeerId')
    same(hex(parsePeerId(c.peer_id)), c.public_key, 'PeerId, read')
    same(fingerprint(key), c.fingerprint, 'fingerprint')
  },
  'codec.json': c => {
    if (!c.accepted) return refused(() => decode(unhex(c.hex)), 'malformed', c.why)
    const value = decode(unhex(c.hex))
    same(diagnostic(value), c.diagnostic, 'value')
    same(hex(encode(value)), c.hex, 'encoding')
  },
  'statements.json': c => {
    const type = types[c.type]
    same(type.domain, c.domain, 'domain')
    const read = open(type, unhex(c.statement))
    same(hex(read.id), c.id, 'id')
    same(did(read.signer), c.signer, 'signer')
    same(diagnostic(decode(unhex(c.payload))), c.fields, 'fields')
    const structure = encode(['Signature1', unhex(c.protected), utf8(c.domain), unhex(c.payload)])
    same(hex(structure), c.sig_structure, 'Sig_structure')
    const written = seal(type, read.value, keyPair(unhex(c.seed)))
    same(hex(written.bytes), c.statement, 'written anew')
    if (!hex(written.bytes).endsWith(c.signature)) throw new Error('another signature')
  },
  'refused_statements.json': c =>
    refused(() => open(types[c.type], unhex(c.statement)), EITHER.has(c.why) ? ['malformed', 'signature'] : c.refusal, c.why),
  'tickets.json': c => {
    if (!c.accepted) {
      const [code, detail] = c.error.split(': ')
      refused(() => readTicket(c.line, c.now), code, c.what)
      if (detail) { try { readTicket(c.line, c.now) } catch (error) { same(error.message, c.error, c.what) } }
      return
    }
    const t = readTicket(c.line, c.now)
    same([did(t.node), did(t.owner), t.addresses, hex(t.exchange), t.expires, hex(t.nextKey)],
      [c.node, c.owner, c.addresses, c.exchange, c.expires, c.next_key], c.what)
    same('kos1' + base58btc.encode(unhex(c.statement)).slice(1), c.line.trim(), 'line')
  },
  'digests.json': c => {
    const key = () => parseDid(c.of)
    const found = {
      request: () => requestDigest(unhex(c.salt), c.capability, new Map(Object.entries(c.arguments))),
      revocations: () => revocationRoot(c.targets.map(unhex)),
      node_key: () => sha256(utf8('kos/dht/node/1'), key()),
      did_key: () => sha256(utf8('kos/dht/did/1'), key()),
      tag_key: () => sha256(utf8('kos/dht/tag/1'), utf8(c.of.toLowerCase())),
      next_key: () => sha256(unhex(c.of)),
      exchange_id: () => sha256(unhex(c.of))
    }[c.kind]()
    same(hex(found), c.digest, c.kind)
  },
  'frames.json': c => {
    const bytes = unhex(c.bytes)
    if (c.read.refused) return refused(() => readFrame(bytes), c.read.refused, c.what)
    const one = readFrame(bytes)
    if (c.read.waits) return same(one, null, c.what)
    same([one.kind, Number(one.id), hex(one.body), one.more, one.again], [c.read.kind, c.read.id, c.read.body, c.read.more, c.read.again], c.what)
    same(hex(frame(one.kind, one.id, one.body, one)), c.bytes, 'written anew')
    if ('refusal' in c.read) {
      const { code, text } = readRefusal(one.body)
      same([code, text], [c.read.refusal, c.read.text], c.what)
    }
  },
  'packed.json': c => {
    const bytes = unhex(c.bytes)
    refused(() => readFrame(bytes, false), undefined, 'not agreed')
    if (c.read.refused) return refused(() => readFrame(bytes), c.read.refused, c.what)
    const one = readFrame(bytes)
    same([one.kind, Number(one.id), one.body.length, hex(sha256(one.body)), one.more, one.again],
      [c.read.kind, c.read.id, c.read.length, c.read.sha256, c.read.more, c.read.again], c.what)
  },
  'hellos.json': c => {
    const judge = () => checkHello(unhex(c.hello), {
      peer: parseDid(c.channel_peer), receiver: parseDid(c.receiver), ours: c.answers && unhex(c.answers), now: c.now, seen: () => c.seen
    })
    if (c.read.refused) return refused(judge, c.read.refused, c.what)
    const hello = judge()
    same(hello.outcomes.map(o => [o.name, ['', 'granted', 'partial', 'denied'][o.outcome], o.reason]), c.read.outcomes, 'outcomes')
    same(hello.introduction !== undefined, c.read.owner_shown, 'owner')
  },
  'messages.json': c => {
    const [asks, answers] = types.KINDS[c.kind]
    const message = unpack(types.request, unhex(c.request))
    same(message.kind, c.kind, 'kind')
    same(hex(pack(types.request, { kind: c.kind, body: asks.write(asks.read(message.body)) })), c.request, 'request')
    same(hex(pack(answers, unpack(answers, unhex(c.response)))), c.response, 'response')
    same(diagnostic(decode(unhex(c.request))), c.request_diagnostic, 'request')
    same(diagnostic(decode(unhex(c.response))), c.response_diagnostic, 'response')
  },
  'pairing.json': c => {
    if (c.tries) return same(life(c.made, c.tries), c.tries.map(one => one.verdict), c.what)
    if (c.typed !== undefined) return c.accepted && same(hex(sha256(utf8('kos/dht/pair/1'), utf8(c.mailbox))), c.dht_key, c.what)
    const [word, number, ...password] = c.code.split('-')
    const made = pairing({
      mailbox: `${word}-${number}`,
      password: password.join('-'),
      issuer: parseDid(c.issuer),
      joiner: parseDid(c.joiner),
      joinerEntropy: unhex(c.joiner_entropy),
      issuerEntropy: unhex(c.issuer_entropy),
      joinerIdentity: unhex(c.joiner_identity),
      issuerIdentity: unhex(c.issuer_identity)
    })
    const shapes = {
      open: types.pairOpen, opened: types.pairOpened, prove: types.pairProve, proved: types.pairProved, finish: types.pairFinish
    }
    for (const [message, shape] of Object.entries(shapes)) same(hex(pack(shape, made[message])), c[message], message)
  },
  'receipts.json': c => {
    const judge = () => checkReceipt(unhex(c.file))
    if (c.verdict.refused) return refused(judge, EITHER.has(c.what) ? ['malformed', 'signature'] : c.verdict.refused, c.what)
    const found = judge()
    const signers = found.signers.map(({ role, key, owner }) => ({ key: did(key), owner: did(owner), role }))
    same([found.state, signers], [c.verdict.state, c.verdict.signers], c.what)
  },
  'sessions.json': (c, i, before) => {
    // Whole frames, and nothing else.
    const frames = []
    for (let rest = unhex(c.bytes); rest.length > 0;) {
      const one = readFrame(rest)
      if (!one) throw new Error('half a frame')
      frames.push(one)
      rest = rest.subarray(one.size)
    }
    same(hex(concat(...frames.map(one => frame(one.kind, one.id, one.body, one)))), c.bytes, 'written anew')
    for (const one of frames) if (one.kind === 'request') types.KINDS[unpack(types.request, one.body).kind][0].read(unpack(types.request, one.body).body)
    before[i] = frames
    if (i !== 2) return
    // By now both Hellos and the first answer are there: judge them as the two sides do.
    const [[alices, first], [bobs]] = before
    const alice = open(types.Hello, alices.body)
    const now = alice.value.time
    const [a, b] = [alice.value.from, alice.value.to]
    checkHello(alices.body, { peer: a, receiver: b, now })
    const theirs = checkHello(bobs.body, { peer: b, receiver: a, ours: alices.body, now })
    same(hex(theirs.session), hex(alice.value.session), 'session')
    const order = open(types.Order, types.call.read(unpack(types.request, first.body).body).order)
    const chunks = frames.filter(one => one.kind === 'chunk').map(one => one.body)
    const owner = checkIntroduction(theirs.introduction, now).owner
    checkAnswer({ order, answer: unpack(types.answered, frames.at(-1).body), chunks, owner, now })
  }
}

/** Runs the files of a folder: `{file, passed, failed: [why], skipped}` for each. */
export function runVectors (folder) {
  return readdirSync(folder).filter(name => name.endsWith('.json')).sort().map(file => {
    const { cases } = JSON.parse(readFileSync(join(folder, file), 'utf8'))
    const run = FILES[file]
    if (!run) return { file, passed: 0, failed: [], skipped: cases.length }
    const failed = []
    const before = []
    cases.forEach((one, i) => {
      try { run(one, i, before) } catch (error) { failed.push(`case ${i}: ${error.message}`) }
    })
    return { file, passed: cases.length - failed.length, failed, skipped: 0 }
  })
}
