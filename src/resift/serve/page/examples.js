// Requests to try. A test ranks each of them.

const filler =
  "The service writes a line to its log for each request, with the time and the caller. ";
const needle = "Error 0x80070005 means that access is denied: the account has no permission. ";

export const EXAMPLES = [
  {
    name: "Reset a password",
    query: "how do I reset my password",
    documents: [
      "Passwords are stored as salted hashes and never leave the identity service.",
      "Password policy: at least twelve characters, changed when there was a breach.",
      "To reset the router, hold the button on its back for ten seconds.",
      "The office is closed on Sundays and on public holidays.",
      "Our password manager is paid for by the company; ask IT for a licence.",
      "You forgot it? Choose Settings, then Security, and follow the link that we mail to you.",
      "Reset the counter with the small key beside the display.",
      "Choose Settings, then Security, and press “Reset password”. A mail with a link arrives.",
    ].join("\n"),
  },
  {
    name: "Documents as JSON",
    query: "who approves vacation",
    topN: 3,
    documents: JSON.stringify(
      [
        {
          id: "hr-12", title: "Leave",
          text: "You have 30 days of vacation a year; five of them can be kept for the next.",
        },
        {
          id: "hr-40", title: "Expenses",
          text: "Your manager approves expenses over 100 €, the finance team those over 1,000 €.",
        },
        { id: "hr-14", title: "Sick leave", text: "Call before nine. No approval is needed." },
        { id: "it-02", title: "Access", text: "The owner of a system approves access to it." },
        {
          id: "hr-13", title: "Leave",
          text: "Ask for vacation two weeks before. Your manager approves it in the calendar.",
        },
      ],
      null,
      2,
    ),
  },
  {
    name: "A needle in a long document",
    query: "what does error 0x80070005 mean",
    long: "windows",
    documents: [
      JSON.stringify({
        id: "codes", title: "Codes",
        text: "Every error has a code, which the support team asks for.",
      }),
      JSON.stringify({
        id: "faq", title: "Questions",
        text: "There was an error? Restart the service and try again.",
      }),
      JSON.stringify({
        id: "log-guide", title: "Logs",
        text: `${filler.repeat(60)}${needle}${filler.repeat(20)}`,
      }),
    ].join("\n"),
  },
  {
    name: "Odd documents",
    query: "opening hours of the library",
    documents: JSON.stringify(
      [
        "",
        { title: "No text at all" },
        42,
        "<img src=x onerror=alert(1)> The library is open from nine to six.",
        "📚📚📚",
        "ספריית העיר פתוחה בימים ראשון עד חמישי",
        { id: "long", text: `${filler.repeat(90)}The library closes at six.` },
      ],
      null,
      1,
    ),
  },
];
