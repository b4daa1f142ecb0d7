// One session on one stream, from the dialler's side (03-session.md, sections 1, 3 and 4).
// It does not move to another stream (section 5): when the stream ends, so does the session.
import { concat, equal, random, Refusal, refuse } from './bytes.mjs'
import { creditFrame, fragments, frame, number, readFrame, readRefusal, refusalFrame } from './frames.mjs'
import { agree, checkHello, makeHello, packs } from './hello.mjs'
import { CALLER_QUEUE, CHUNK_COST, EARLY, HELLO_WAIT, MESSAGE, STALL, UNREAD } from './limits.mjs'
import { certifiesNode, checkIntroduction, hasRight } from './identity.mjs'
import { pack, unpack } from './shape.mjs'
import { KINDS, request as requestShape } from './statements.mjs'

export class Session {
  #stream
  #pair
  #peer
  #buffer = new Uint8Array()
  #asked = new Map() // our requests, by id, that have no final answer yet
  #waiting = [] // our requests that the other side's limit holds back
  #nextId = 1n
  #lastHeard = 0n // the highest id of theirs
  #parts = { request: null, response: null } // messages of which fragments are still to come
  #handlers
  #hello = Promise.withResolvers()
  #ended = Promise.withResolvers()
  #stall = null
  #over = false

  /**
   * Says Hello on a fresh stream and waits for the listener's. `owner` is pinned when it is known; `early` is a function of the session that may
   * ask at most 8 questions, which ride with the Hello.
   */
  static async dial (stream, { pair, peer, owner = null, unread = UNREAD, contact, hello, handlers = {}, early = () => {} }) {
    const session = new Session(stream, pair, peer, handlers)
    session.owner = owner
    await session.#greet({ unread, contact, hello, early })
    return session
  }

  constructor (stream, pair, peer, handlers) {
    this.#stream = stream
    this.#pair = pair
    this.#peer = peer
    this.#handlers = { ...HANDLERS, 'link.introduce': introduction => this.#introduced(introduction), ...handlers }
    this.counts = { creditFrames: 0, chunks: 0 }
    this.packs = false // whether both sides have said that they read packed frames
    this.#hello.promise.catch(() => {})
  }

  /** The end of the session: a refusal, or null after a bye without one. */
  get ended () { return this.#ended.promise }

  async #greet ({ unread, contact, hello, early }) {
    const ours = hello ?? makeHello({
      pair: this.#pair, to: this.#peer, now: Date.now(), session: random(16), memory: random(8), unread, contact
    })
    this.ours = ours
    this.limits = { ...ours.value.limits, inFlight: EARLY }
    const out = [frame('hello', 0, ours.bytes)]
    this.hold = out
    early(this)
    this.hold = null
    const late = setTimeout(() => this.#fail(new Refusal('timeout', 'no Hello came')), HELLO_WAIT)
    this.#read().catch(error => this.#fail(error))
    await this.#write(concat(...out))
    try { await this.#hello.promise } finally { clearTimeout(late) }
  }

  async #write (bytes) {
    if (this.hold) return void this.hold.push(bytes)
    if (!this.#stream.send(bytes)) await this.#stream.onDrain()
  }

  async #read () {
    for await (const piece of this.#stream) {
      this.#buffer = concat(this.#buffer, piece.subarray())
      for (let one; !this.#over && (one = readFrame(this.#buffer, this.packs)) !== null;) {
        this.#buffer = this.#buffer.subarray(one.size)
        this.#take(one)
      }
      if (this.#over) return
      this.#watch()
    }
    this.#end(new Refusal('unreachable', 'the stream ended without a bye'))
  }

  /** A message that was begun must go on within 30 seconds. */
  #watch () {
    clearTimeout(this.#stall)
    const begun = this.#buffer.length > 0 || this.#parts.request || this.#parts.response
    this.#stall = begun ? setTimeout(() => this.#fail(new Refusal('stalled', 'half a message')), STALL) : null
  }

  #take (one) {
    if (!this.theirs) {
      if (one.kind === 'bye') return this.#bye(one)
      if (one.kind !== 'hello') refuse('malformed', 'the first frame is no Hello')
      this.theirs = checkHello(one.body, { peer: this.#peer, receiver: this.#pair.key, ours: this.ours.bytes, now: Date.now() })
      if (!equal(this.theirs.session, this.ours.value.session)) refuse('malformed', 'another session')
      this.limits = agree(this.ours.value.limits, this.theirs.limits)
      this.packs = packs(this.ours.value.versions) && packs(this.theirs.versions)
      // An introduction that does not hold is no fault of the Hello; it just does not count.
      if (this.theirs.introduction) try { this.#introduced(this.theirs.introduction) } catch (error) { if (!(error instanceof Refusal)) throw error }
      this.#hello.resolve()
      return this.#next()
    }
    switch (one.kind) {
      case 'request': return this.#whole(one, message => this.#answer(one, message))
      case 'response': return this.#whole(one, message => this.#final(one.id, null, message))
      case 'error': {
        const { code, text } = readRefusal(one.body)
        return this.#final(one.id, new Refusal(code ?? 'failed', text))
      }
      case 'chunk': return this.#chunk(one)
      case 'credit': return number(one.body) > 0n && refuse('malformed', 'credit beyond what was sent')
      case 'cancel': return // what we answer is answered at once
      case 'event': return // nobody listens here
      case 'bye': return this.#bye(one)
      default: refuse('malformed', 'a second Hello')
    }
  }

  #whole (one, done) {
    const begun = this.#parts[one.kind]
    if (begun && begun.id !== one.id) refuse('malformed', 'another message in between')
    const parts = begun ?? { id: one.id, pieces: [], length: 0 }
    parts.pieces.push(one.body)
    parts.length += one.body.length
    if (parts.length > MESSAGE) refuse('too_large', 'a message')
    this.#parts[one.kind] = one.more ? parts : null
    if (!one.more) done(concat(...parts.pieces))
  }

  // ---- What we ask.

  /**
   * Asks, and gives the answer's body. `onChunk` reads the chunks in order; when it has taken one, credit is due.
   * `signal` cancels. `creditEvery` is the share of the window after which credit is sent.
   */
  async ask (kind, body = {}, options = {}) {
    const [asks, answers] = KINDS[kind]
    const message = pack(requestShape, { kind, body: asks.write(body) })
    return unpack(answers, await this.#send(message, options))
  }

  /** An empty request; the session itself answers it, with an empty response. */
  async ping () {
    const answer = await this.#send(new Uint8Array())
    if (answer.length !== 0) refuse('malformed', 'a ping was answered with something')
  }

  /** Asks with a message as it is; for kinds that are not in the table. */
  raw (message, options) { return this.#send(message, options) }

  #send (message, options = {}) {
    if (message.length > this.limits.message) return Promise.reject(new Refusal('too_large', 'a request'))
    if (this.#waiting.length >= CALLER_QUEUE) return Promise.reject(new Refusal('busy', 'the queue is full'))
    if (this.#over) return Promise.reject(new Refusal('unreachable', 'the session has ended'))
    const one = {
      message, ...options, ...Promise.withResolvers(), arrived: 0, taken: 0, credited: 0, reading: Promise.resolve(), final: false
    }
    this.#waiting.push(one)
    this.#next()
    return one.promise
  }

  #next () {
    while (this.#waiting.length > 0 && this.#asked.size < this.limits.inFlight) {
      const one = this.#waiting.shift()
      const id = one.id = this.#nextId++
      this.#asked.set(id, one)
      this.#write(concat(...fragments('request', id, one.message))).catch(error => this.#fail(error))
      const cancel = () => { if (!one.final) this.#write(frame('cancel', id)).catch(error => this.#fail(error)) }
      if (one.signal?.aborted) cancel()
      else one.signal?.addEventListener('abort', cancel, { once: true })
    }
  }

  #chunk ({ id, body }) {
    const one = this.#asked.get(id)
    if (!one) refuse('malformed', 'a chunk of nothing that we asked')
    const cost = body.length + CHUNK_COST
    one.arrived += cost
    if (one.arrived - one.taken > this.limits.unread) refuse('too_large', 'chunks beyond the window')
    this.counts.chunks++
    if (one.signal?.aborted) return // what still comes after a cancel is dropped
    one.reading = one.reading.then(() => one.onChunk?.(body)).then(() => {
      one.taken += cost
      const due = one.taken - one.credited >= this.limits.unread * (one.creditEvery ?? 1 / 4)
      if (!due || one.final || this.#over) return
      one.credited = one.taken
      this.counts.creditFrames++
      return this.#write(creditFrame(id, one.taken))
    }).catch(error => one.reject(error))
  }

  #final (id, refusal, message) {
    const one = this.#asked.get(id)
    if (!one) refuse('malformed', 'an answer to nothing that we asked')
    one.final = true
    this.#asked.delete(id)
    if (refusal) one.reject(refusal)
    else one.reading.then(() => one.resolve(message))
    this.#next()
  }

  // ---- What the other side asks.

  #answer ({ id, again }, message) {
    if (id <= this.#lastHeard && !again) refuse('malformed', 'an id that does not rise')
    this.#lastHeard = id > this.#lastHeard ? id : this.#lastHeard
    let out
    try {
      if (again) refuse('unknown_outcome', 'this session does not move')
      out = fragments('response', id, message.length === 0 ? message : this.#handle(message))
    } catch (error) {
      out = [refusalFrame('error', id, error.code ?? 'internal', error.message)]
    }
    this.#write(concat(...out)).catch(error => this.#fail(error))
  }

  #handle (message) {
    const { kind, body } = unpack(requestShape, message)
    const handler = this.#handlers[kind] ?? refuse('no_handler', kind)
    const [asks, answers] = KINDS[kind]
    return pack(answers, handler(asks.read(body)))
  }

  /** Who stands behind the node, when it shows it: in its Hello, or by `link.introduce`. */
  #introduced (introduction) {
    const certificate = checkIntroduction(introduction, Date.now())
    if (!certifiesNode(certificate, this.#peer) || !hasRight(certificate, 'call')) refuse('signature', 'an introduction of something else')
    if (this.owner && !equal(certificate.owner, this.owner)) refuse('signature', 'another owner than before')
    this.owner = certificate.owner
    return {}
  }

  // ---- The end.

  #bye ({ body }) {
    const { code, text } = readRefusal(body)
    this.#end(code ? new Refusal(code, text) : null)
  }

  /** We refuse: say why, and end. */
  #fail (error) {
    if (this.#over) return
    const refusal = error instanceof Refusal ? error : new Refusal('unreachable', error?.message)
    try { this.#stream.send(refusalFrame('bye', 0, refusal.code, refusal.message)) } catch {}
    this.#end(refusal)
  }

  #end (refusal) {
    if (this.#over) return
    this.#over = true
    clearTimeout(this.#stall)
    this.#hello.reject(refusal ?? new Refusal('unreachable', 'a bye in place of a Hello'))
    for (const one of this.#asked.values()) one.reject(new Refusal('unknown_outcome', `the session ended: ${refusal?.message ?? 'bye'}`))
    for (const one of this.#waiting) one.reject(new Refusal('unreachable', 'the session ended'))
    this.#asked.clear()
    this.#waiting = []
    this.#stream.close().catch(() => {})
    this.#ended.resolve(refusal)
  }

  /** Says goodbye. */
  async close () {
    if (this.#over) return
    await this.#write(refusalFrame('bye', 0, null))
    this.#end(null)
  }
}

/** What a client answers that offers nothing. */
const HANDLERS = {
  ping: () => ({ time: Date.now() }),
  'directory.query': () => ({ entries: [] }),
  'capability.request': ({ wants }) => ({ outcomes: wants.slice(0, 64).map(name => ({ name, outcome: 3, reason: 'nothing is offered here' })) }),
  'grant.list': () => ({ chains: [] }),
  'grant.deliver': () => ({}),
  'revocation.deliver': () => ({}),
  'receipt.missing': () => ({ entries: [] })
}
