/** What the kubelet asks: whether control lives, and whether it may be sent agents. */
import { text, type HttpAnswer } from "./http-listener.ts";

/**
 * @param notReady why agents must not come yet, or no more; undefined when they may.
 */
export function healthAnswers(notReady: () => string | undefined): (path: string) => HttpAnswer | undefined {
  return (path) => {
    switch (path) {
      case "/healthz":
        return text("ok");
      case "/readyz": {
        const reason = notReady();
        return reason === undefined ? text("ok") : text(reason, 503);
      }
      default:
        return undefined;
    }
  };
}
