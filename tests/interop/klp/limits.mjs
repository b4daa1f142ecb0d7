// The bounds of 00-overview.md, section 6, that a client meets. Bytes, counts, milliseconds.
const MINUTE = 60_000
const DAY = 24 * 60 * MINUTE

export const FRAME = 65536
export const MESSAGE = 1048576
export const STATEMENT = 65536
export const CHAIN = 4096
export const DEPTH = 16
export const SKEW = 5 * MINUTE
export const IN_FLIGHT = 64
export const CALLER_QUEUE = 1024
export const UNREAD = 262144
export const UNREAD_LEAST = 131072
export const CHUNK_COST = 16
export const HELLO_WAIT = 10_000
export const STALL = 30_000
export const ORDER_LIFE = 10 * MINUTE
export const TICKET_LIFE = 7 * DAY
export const CERTIFICATE_LIFE = 30 * DAY
export const ROOT_CERTIFICATE_LIFE = 365 * DAY
export const EARLY = 8
export const STRIKES = 16
export const EVENTS = 64
export const ARGUMENT = 16384
export const TICKET_LINE = 16384
export const RECEIPT = 2097152
export const ADDRESS = 256
