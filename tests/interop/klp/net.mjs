// The channel (03-session.md, section 1): TCP or WebSocket, Noise, Yamux, or WebRTC Direct, and a stream of /kos/klp/1.
import './node20.mjs'
import { createLibp2p } from 'libp2p'
import { generateKeyPairFromSeed } from '@libp2p/crypto/keys'
import { identify } from '@libp2p/identify'
import { noise } from '@libp2p/noise'
import { tcp } from '@libp2p/tcp'
import { webSockets } from '@libp2p/websockets'
import { yamux } from '@libp2p/yamux'
import { multiaddr } from '@multiformats/multiaddr'
import { refuse } from './bytes.mjs'
import { parsePeerId, peerId } from './keys.mjs'

export const PROTOCOL = '/kos/klp/1'

/** A libp2p node that listens nowhere, with the node key as its identity. WebRTC is a package of its own, see README.md. */
export async function startNet (pair, { webrtc = false } = {}) {
  // A node reads messages of a data channel up to 8 KiB (03-session.md, section 1).
  const more = webrtc ? [(await import('@libp2p/webrtc')).webRTCDirect({ dataChannel: { maxMessageSize: 8 * 1024 } })] : []
  return createLibp2p({
    privateKey: await generateKeyPairFromSeed('Ed25519', pair.seed),
    addresses: { listen: [] },
    transports: [tcp(), webSockets(), ...more],
    connectionEncrypters: [noise()],
    streamMuxers: [yamux()],
    services: { identify: identify() },
    connectionMonitor: { enabled: false }
  })
}

/** The node's key at the end of an address. A client knows whom it dials. */
export function nodeOf (address) {
  const found = /\/p2p\/([^/]+)$/.exec(address)
  return found ? parsePeerId(found[1]) : refuse('invalid', `${address} does not end in /p2p/PEERID`)
}

/** Dials, and opens the session stream: `{stream, peer, close}`. */
export async function dial (net, address, signal) {
  const peer = nodeOf(address)
  const connection = await net.dial(multiaddr(address), { signal, force: true })
  if (connection.remotePeer.toString() !== peerId(peer)) {
    connection.abort(new Error('another node'))
    refuse('not_for_me', 'the channel shows another node')
  }
  const stream = await connection.newStream(PROTOCOL, { signal })
  return { stream, peer, connection, close: () => connection.close({ signal: AbortSignal.timeout(2000) }).catch(() => connection.abort(new Error('closing'))) }
}
