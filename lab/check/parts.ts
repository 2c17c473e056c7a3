/** The parts of the mesh that the check looks at, and that `--break` can sabotage one by one. */
export const parts = ["redirect", "mtls", "policy", "identity", "source"] as const;

export type Part = (typeof parts)[number];

export function isPart(text: string): text is Part {
  return (parts as readonly string[]).includes(text);
}
