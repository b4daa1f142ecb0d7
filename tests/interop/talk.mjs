// The conversation over one transport, step by step.
import { writeFileSync } from 'node:fs'
import { concat, equal, hex, random, refuse } from './klp/bytes.mjs'
import { acknowledge, checkAnswer, makeCall, readChain } from './klp/call.mjs'
import { encode } from './klp/cbor.mjs'
import { checkCard } from './klp/directory.mjs'
import { introduce, readRevocations } from './klp/identity.mjs'
import { did, keyPair, peerId } from './klp/keys.mjs'
import { UNREAD_LEAST } from './klp/limits.mjs'
import { dial, PROTOCOL } from './klp/net.mjs'
import { checkReceipt, writeReceipt } from './klp/receipt.mjs'
import { Session } from './klp/session.mjs'
import { refused, step as anyStep } from './steps.mjs'

const within = seconds => AbortSignal.timeout(seconds * 1000)
const need = (test, what) => test || refuse('failed', what)

export async function talk ({ net, me, transport, address, pinned, question, receiptOut }) {
  const step = (name, run) => anyStep(`${transport}: ${name}`, run)
  const mine = new Map() // acknowledgements, by the order's id, in case they are asked for
  const handlers = { 'receipt.missing': ({ orders }) => ({ entries: orders.map(id => mine.get(hex(id))).filter(Boolean) }) }
  const common = { pair: me.node, owner: pinned?.owner, handlers, unread: UNREAD_LEAST }

  // ---- As somebody whom nobody has introduced.
  await step('another node at this address: no channel', async () => {
    const other = address.replace(/[^/]+$/, peerId(keyPair(random(32)).key))
    let open = true
    await dial(net, other, within(10)).then(({ close }) => close(), () => { open = false })
    need(!open, 'it was opened all the same')
  })
  const line = await step('dial, Noise, Yamux, /kos/klp/1', async () => await dial(net, address, within(10)))
  if (!line) return
  let early
  const session = await step('Hello both ways', () =>
    Session.dial(line.stream, { ...common, peer: line.peer, early: one => { early = one.ask('ping') } }))
  if (!session) return line.close()
  const ask = (...all) => session.ask(...all)

  await step('a request that rides with the Hello', async () => need((await early).time > 0, 'no time'))
  await step('ping', async () => need(Math.abs((await ask('ping')).time - Date.now()) < 300_000, 'another time'))
  await step('an empty request', () => session.ping())
  await step('directory.query of a stranger', async () => {
    const { entries } = await ask('directory.query', {})
    entries.forEach(entry => checkCard(entry, Date.now()))
    return `${entries.length} cards`
  })
  await step('an unknown kind is no_handler', () =>
    refused('no_handler', session.raw(encode(new Map([[1, 'org.example.nothing'], [2, new Map()]])))))
  await step('a request of two frames', () =>
    refused('no_handler', session.raw(encode(new Map([[1, 'org.example.nothing'], [2, random(100_000)]])))))
  await step('a wrong body is malformed', () =>
    refused('malformed', session.raw(encode(new Map([[1, 'ping'], [2, new Map([[9, 9]])]])))))
  // The node knows a peer as long as it has a session with it, and may not have seen yet that the last one, over TCP, is over.
  await step('without an introduction: denied', async () => {
    const until = Date.now() + 10_000
    while (Date.now() < until && await ask('grant.list').then(() => true, () => false)) await new Promise((resolve) => setTimeout(resolve, 20))
    return refused('denied', ask('grant.list'))
  })
  await step('an introduction of another node: signature', () =>
    refused('signature', ask('link.introduce', introduce({ owner: me.owner, subject: keyPair(random(32)), nextKey: random(32), now: Date.now() }))))
  await step('an introduction by another owner than the ticket\'s: signature', () =>
    refused('signature', ask('link.introduce', introduce({ owner: keyPair(random(32)), subject: me.node, nextKey: random(32), now: Date.now() }))))

  // ---- As the client's owner.
  await step('link.introduce', () => ask('link.introduce', me.introduction))
  const grant = await step('grant.list', async () => {
    const { chains } = await ask('grant.list')
    const all = chains.map(chain => readChain(chain, me.owner.key))
    return all.find(one => one.capability === 'ask' && equal(one.node, line.peer)) ?? refuse('not_found', `no grant of ask among ${all.length}`)
  })
  if (!grant) return session.close().then(line.close)
  const owner = pinned?.owner ?? session.owner ?? grant.owner
  await step('the grant is of the node\'s owner', () => need(equal(grant.owner, owner), 'another owner'))
  const revoked = await step('revocation.since', async () => readRevocations(await ask('revocation.since', { owner, seq: 0 }), owner))
  const card = await step('directory.query of the holder', async () => {
    const { entries } = await ask('directory.query', { agent: grant.agent })
    need(entries.length === 1, `${entries.length} cards`)
    const found = checkCard(entries[0], Date.now(), revoked)
    return need(equal(found.agent, grant.agent) && equal(found.owner, owner) && equal(found.node, line.peer), 'another agent') && found
  })
  if (card) {
    await step('capability.request', async () => {
      // The wants are a sorted set.
      const names = [`${card.name}.ask`, 'nobody.other'].sort()
      const { outcomes } = await ask('capability.request', { wants: names })
      need(outcomes.length === 2 && outcomes.every((one, i) => one.name === names[i]), 'other names, or another order')
      // A grant with a bound counts as partial; what is not granted is denied.
      need(outcomes.every(one => one.name === 'nobody.other' ? one.outcome === 3 : one.outcome < 3), JSON.stringify(outcomes))
      return outcomes.map(one => `${one.name}: ${one.reason}`).join('; ')
    })
  }

  // ---- A call.
  const newCall = (changes = {}) => makeCall({
    pair: me.node, caller: me.owner.key, node: line.peer, agent: grant.agent, capability: 'ask', args: new Map([['text', question]]), grant, ...changes
  })
  const call = newCall()
  const chunks = []
  const outcome = await step('agent.call: chunks, credit, the signed outcome', async () => {
    const answer = await ask('agent.call', call.body, { onChunk: piece => { chunks.push(piece) }, creditEvery: 0 })
    const found = checkAnswer({ order: call.order, answer, chunks, owner, now: Date.now(), revoked })
    need(found.value.status === 1, `status ${found.value.status}`)
    need(chunks.length > 0 && session.counts.creditFrames > 0, `${chunks.length} chunks, ${session.counts.creditFrames} credit frames`)
    found.agentIntroduction = answer.introduction
    console.log(`# ${found.value.bytes} bytes in ${chunks.length} chunks, ${session.counts.creditFrames} credit frames, agent ${did(grant.agent)}`)
    return found
  })
  if (outcome) {
    const ack = acknowledge({ pair: me.node, outcome })
    mine.set(hex(call.order.id), { order: call.order.id, acknowledgement: ack.bytes })
    await step('receipt.acknowledge', () => ask('receipt.acknowledge', mine.get(hex(call.order.id))))
    await step('the client\'s own receipt', () => {
      const file = writeReceipt({
        order: call.order.bytes,
        caller: me.introduction,
        outcome: outcome.bytes,
        agent: outcome.agentIntroduction,
        acknowledgement: ack.bytes,
        salt: call.body.salt,
        arguments: call.body.arguments,
        answer: concat(...chunks)
      })
      const { state } = checkReceipt(file)
      if (receiptOut) writeFileSync(receiptOut, file)
      return `${state}, order ${hex(call.order.id)}`
    })
  }

  // ---- Refusals, by name.
  await step('a replayed order: replay', () => refused('replay', ask('agent.call', call.body)))
  await step('a call without grant: denied', () => refused('denied', ask('agent.call', newCall({ grant: null }).body)))
  await step('another agent under this grant: denied', () => refused('denied', ask('agent.call', newCall({ agent: keyPair(random(32)).key }).body)))
  await step('another capability: capability', () => refused('capability', ask('agent.call', newCall({ capability: 'other' }).body)))
  await step('an order for another node: not_for_me', () => refused('not_for_me', ask('agent.call', newCall({ node: me.node.key }).body)))
  await step('an order past its time: expired', () => refused('expired', ask('agent.call', newCall({ now: Date.now() - 601_000 }).body)))
  await step('an order from the future: clock', () => refused('clock', ask('agent.call', newCall({ now: Date.now() + 301_000 }).body)))
  await step('arguments that were not ordered: malformed', () =>
    refused('malformed', ask('agent.call', { ...newCall().body, arguments: new Map([['text', 'another question']]) })))
  await step('cancel of a running call: cancelled', async () => {
    // An answer that is already on its way wins against the cancel; then it is tried again.
    for (let i = 1; i <= 5; i++) {
      const stop = new AbortController()
      try {
        await ask('agent.call', newCall().body, { signal: stop.signal, onChunk: () => stop.abort() })
      } catch (error) {
        if (error.code === 'cancelled') return `try ${i}`
        throw error
      }
    }
    return refused('cancelled', ask('agent.call', newCall().body, { signal: AbortSignal.abort() }))
  })
  await step('the session goes on after all this', () => ask('ping'))
  await step('bye', async () => {
    await session.close()
    need(await session.ended === null, 'a refusal')
  })

  await step('a Hello that was seen: replay', async () => {
    const stream = await line.connection.newStream(PROTOCOL, { signal: within(10) })
    return refused('replay', Session.dial(stream, { ...common, peer: line.peer, hello: session.ours }))
  })

  // ---- As a contact, on the same connection: the Hello itself introduces.
  if (pinned) {
    await step('a new session, introduced in the Hello', async () => {
      const stream = await line.connection.newStream(PROTOCOL, { signal: within(10) })
      const wants = card ? [`${card.name}.ask`] : []
      const second = await Session.dial(stream, { ...common, peer: line.peer, contact: { introduction: me.introduction, wants } })
      need(second.owner && equal(second.owner, pinned.owner), 'its introduction does not hold')
      need(second.theirs.introduction, 'a contact\'s Hello without an introduction')
      const { chains } = await second.ask('grant.list')
      need(chains.length > 0, 'no grants')
      need(second.theirs.outcomes.every(one => one.outcome === 1) && second.theirs.outcomes.length === wants.length, JSON.stringify(second.theirs.outcomes))
      await second.close()
    })
  }
  await step('hang up', () => line.close())
}
