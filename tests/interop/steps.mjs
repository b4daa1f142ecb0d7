// One line for each step, each bounded in time.
const BOUND = 15_000
let passed = 0
let failed = 0

/** Runs a step; gives what it gave, or undefined when it failed. A text that it gives is printed. */
export async function step (name, run) {
  let timer
  const late = new Promise((resolve, reject) => { timer = setTimeout(() => reject(new Error(`not done in ${BOUND / 1000} s`)), BOUND) })
  try {
    const out = await Promise.race([Promise.resolve().then(run), late])
    passed++
    console.log(`ok ${name}${typeof out === 'string' ? ` (${out})` : ''}`)
    return out ?? true
  } catch (error) {
    failed++
    console.log(`not ok ${name}: ${error?.message ?? error?.error?.message ?? error?.type ?? error}`)
    return undefined
  } finally {
    clearTimeout(timer)
  }
}

/** Expects a refusal by its code. */
export async function refused (code, promise) {
  try { await promise } catch (error) {
    if (error.code === code) return true
    throw error
  }
  throw new Error(`it was not refused, but should be: ${code}`)
}

export function summary () {
  console.log(`${passed} passed, ${failed} failed`)
  return failed === 0 ? 0 : 1
}
