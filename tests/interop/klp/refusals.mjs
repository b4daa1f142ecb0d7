// The numbered refusals (03-session.md, section 7). A number that is not here counts as `failed`.
const CODES = [
  null, 'malformed', 'too_large', 'version', 'signature', 'expired', 'clock', 'replay', 'revoked', 'not_for_me', 'no_handler',
  'denied', 'capability', 'arguments', 'budget', 'busy', 'locked', 'not_found', 'timeout', 'cancelled', 'unknown_outcome',
  'unreachable', 'interrupted', 'stalled', 'rolled_back', 'exists', 'invalid', 'integrity', 'read_only', 'full',
  'unauthorized', 'foreign_origin', 'no_node', 'internal', 'state', 'failed', 'wrong_code', 'burnt',
  'loop', 'hops', 'tampered'
]
export const codeOf = number => number === 0 ? null : CODES[number] ?? 'failed'
export const numberOf = code => code === null ? 0 : CODES.indexOf(code)
