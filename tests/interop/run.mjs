#!/usr/bin/env node
// A second client of KLP, and what it tries with a running node. One line for each step; see README.md.
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { generateKeyPairSync } from 'node:crypto'
import { hex, random, unhex } from './klp/bytes.mjs'
import { introduce, readTicket, writeTicket } from './klp/identity.mjs'
import { did, fingerprint, keyPair } from './klp/keys.mjs'
import { checkReceipt } from './klp/receipt.mjs'
import { runVectors } from './klp/vectors.mjs'
import { nodeOf, startNet } from './klp/net.mjs'
import { step, summary } from './steps.mjs'
import { talk } from './talk.mjs'

const usage = `Usage: node run.mjs [OPTIONS]

Each option adds steps; they run in this order.
  --vectors DIR        Run the vectors in this folder
  --receipt FILE       Check a receipt file, and that it does not survive an edit
  --keys FILE          The client's keys; made when there is no such file
  --ticket-out FILE    Write the client's ticket line to this file
  --tcp MULTIADDR      Talk to the node at this address, ending in /p2p/PEERID
  --ws MULTIADDR       The same, over WebSocket
  --webrtc MULTIADDR   The same, over WebRTC Direct
  --node-ticket LINE   The node's own ticket: pins its owner, and lets the Hello introduce the client
  --question TEXT      What to ask [default: how do I begin?]
  --receipt-out FILE   Write the receipt of the last answered call to this file
`

const { values: options } = parseArgs({
  options: Object.fromEntries([
    ...['vectors', 'receipt', 'keys', 'ticket-out', 'tcp', 'ws', 'webrtc', 'node-ticket', 'question', 'receipt-out'].map(name => [name, { type: 'string' }]),
    ['help', { type: 'boolean' }]
  ])
})
if (options.help || process.argv.length === 2) {
  process.stdout.write(usage)
  process.exit(options.help ? 0 : 2)
}
// A fault of a library below is a failed run, not a silent one.
process.on('uncaughtException', error => {
  console.log(`not ok unforeseen: ${error?.stack ?? error?.type ?? error}`)
  process.exit(1)
})

function loadKeys (file) {
  if (file && existsSync(file)) return JSON.parse(readFileSync(file, 'utf8'))
  const exchange = generateKeyPairSync('x25519').privateKey.export({ format: 'jwk' })
  const seeds = { owner: hex(random(32)), node: hex(random(32)), next: hex(random(32)), exchange: hex(Buffer.from(exchange.x, 'base64url')) }
  if (file) writeFileSync(file, JSON.stringify(seeds), { mode: 0o600 })
  return seeds
}

if (options.vectors) {
  for (const { file, passed, failed, skipped } of runVectors(options.vectors)) {
    if (skipped) console.log(`# vectors ${file}: ${skipped} cases are of no concern to a client`)
    else {
      await step(`vectors ${file}`, () => {
        if (failed.length > 0) throw new Error(`${failed.length} of ${failed.length + passed} failed; ${failed[0]}`)
        return `${passed} of ${passed}`
      })
    }
  }
}

if (options.receipt) {
  await step('receipt verifies offline', () => {
    const { state, signers } = checkReceipt(new Uint8Array(readFileSync(options.receipt)))
    return `${state}, signed by ${signers.map(one => one.role).join(', ')}; revocation: not checked`
  })
  await step('receipt with any one byte changed is refused', () => {
    const whole = new Uint8Array(readFileSync(options.receipt))
    const stride = Math.max(1, Math.floor(whole.length / 400))
    let tried = 0
    for (let at = 0; at < whole.length; at += stride, tried++) {
      const edited = whole.slice()
      edited[at] ^= 1
      let refused = false
      try { checkReceipt(edited) } catch (error) { refused = Boolean(error.code) }
      if (!refused) throw new Error(`byte ${at} makes no difference`)
    }
    return `${tried} edits`
  })
}

if (options['ticket-out'] || options.tcp || options.ws || options.webrtc) {
  const seeds = loadKeys(options.keys)
  const me = { owner: keyPair(unhex(seeds.owner)), node: keyPair(unhex(seeds.node)) }
  const next = keyPair(unhex(seeds.next))
  me.introduction = introduce({ owner: me.owner, subject: me.node, nextKey: next.key, now: Date.now() })

  if (options['ticket-out']) {
    await step('ticket', () => {
      const line = writeTicket({
        owner: me.owner, node: me.node, introduction: me.introduction, addresses: [], exchange: unhex(seeds.exchange), now: Date.now()
      })
      readTicket(line, Date.now())
      writeFileSync(options['ticket-out'], line + '\n')
      return `of ${did(me.owner.key)}, fingerprint ${fingerprint(me.owner.key).join(' ')}`
    })
  }
  if (options.tcp || options.ws || options.webrtc) {
    const net = await step('libp2p starts', () => startNet(me.node, { webrtc: Boolean(options.webrtc) }))
    const pinned = options['node-ticket'] && await step('the node\'s ticket', () => readTicket(options['node-ticket'], Date.now()))
    for (const transport of ['tcp', 'ws', 'webrtc']) {
      const address = options[transport]
      if (!address || !net) continue
      nodeOf(address)
      await talk({ net, me, transport, address, pinned, question: options.question ?? 'how do I begin?', receiptOut: options['receipt-out'] })
    }
    if (net) await step('libp2p stops', () => net.stop())
  }
}

process.exit(summary())
