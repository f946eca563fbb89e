// The launch measurement of SEV and SEV-ES. Publication 55766, LAUNCH_MEASURE: an HMAC, under the session's integrity key, of
// the API version, the policy, the launch digest and a fresh nonce.

import { hmac } from '@noble/hashes/hmac.js';
import { sha256 } from '@noble/hashes/sha2.js';

export type Measured = {
  /** Transport integrity key, 16 bytes. Zeros when the guest was started without an owner's session: then anybody can compute the result. */
  readonly tik: Uint8Array;
  readonly apiMajor: number;
  readonly apiMinor: number;
  readonly build: number;
  readonly policy: number;
  /** SHA-256 of everything passed to LAUNCH_UPDATE_DATA and LAUNCH_UPDATE_VMSA, in order. */
  readonly digest: Uint8Array;
  /** MNONCE, 16 bytes. */
  readonly nonce: Uint8Array;
};

/** First byte of what is authenticated, so that no other packet of the session can pass for a measurement. */
const CONTEXT_MEASURE = 0x04;

export function launchMeasurement({ tik, apiMajor, apiMinor, build, policy, digest, nonce }: Measured): Uint8Array {
  const head = new Uint8Array(8);
  head.set([CONTEXT_MEASURE, apiMajor, apiMinor, build]);
  new DataView(head.buffer).setUint32(4, policy, true);
  return hmac.create(sha256, tik).update(head).update(digest).update(nonce).digest();
}
