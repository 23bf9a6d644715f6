package home

import (
	"slices"
	"strings"
	"sync"

	"bimamba/edge/intent"
)

// paraphrase is another way to say a command that the model knows. Those with ask are only near to it: they want a yes.
// The model has never seen some of Home Assistant's intents: become makes one of what it understood.
type paraphrase struct {
	said   pattern
	is     string
	ask    bool
	early  bool // before the command is taken as it was said, of which the model would make something else
	order  bool // not of a command, which could end like this, too
	become func(*intent.Outcome)
}

// phrasebook is paraphrases in the order in which they are tried.
type phrasebook struct{ list []paraphrase }

// become adds a paraphrase of which f makes an intent that the model does not know; f may be nil.
func (b *phrasebook) become(said, is string, f func(*intent.Outcome)) {
	b.list = append(b.list, paraphrase{lazy(`(?i)^(?:` + said + `)[.!?]*$`), is, false, false, false, f})
}

func (b *phrasebook) add(said, is string, ask bool) {
	b.become(said, is, nil)
	b.list[len(b.list)-1].ask = ask
}

func (b *phrasebook) early(said, is string) {
	b.add(said, is, false)
	b.list[len(b.list)-1].early = true
}

func (b *phrasebook) order(said, is string) {
	b.add(said, is, false)
	b.list[len(b.list)-1].order = true
}

// questions are what begins as one. A question is no order in other words; "why is it so dark" may be.
var questions = lazy(`(?i)^(?:is|isn't|are|aren't|was|were|does|did|do|has|what|what's|which|who|when|where|how)\b`)

// as makes an intent of what was understood as another of the same thing.
func as(name, slot string, value any) func(*intent.Outcome) {
	return func(o *intent.Outcome) {
		slots := map[string]any{}
		for _, k := range []string{"name", "area", "floor"} {
			if v := o.Slots[k]; v != nil && v != "all" {
				slots[k] = v
			}
		}
		if slot != "" {
			slots[slot] = value
		}
		o.Intent, o.Slots = name, slots
	}
}

// Parts of patterns.
const (
	music = `(?:the |this |that |my )?(?:music|song|songs|track|playback|tunes|audio|sound)`
	here  = `((?: in| on| at)? here| (?:in|on|at) (?:this room|(?:the|my|our) [\pL\pN' ]+))?`
)

// paraphrases are tried, in order, where a command is not understood as it was said.
var paraphrases = sync.OnceValue(func() []paraphrase {
	b := &phrasebook{}
	b.complaints()
	b.wishes()
	b.commands()
	return b.list
})

// commands are other words for commands.
func (b *phrasebook) commands() {
	add, become := b.add, b.become
	// Music.
	add(`(?:kill|cut|stop|silence|turn off|shut off|switch off|halt|shut up) `+music+here, "pause the music$1", false)
	add(`(?:cut|turn|shut|switch) `+music+` off`+here, "pause the music$1", false)
	add(`(?:stop|quit) (?:playing|the playing)(?: music| songs)?`+here, "pause the music$1", false)
	add(`(?:put|get) `+music+` back on`+here, "resume the music$1", false)
	add(`(?:go|skip|jump|move|advance|switch|change) (?:ahead |forward |over )?(?:to )?(?:the )?next (?:one|song|track|tune)(?: on .*)?`, "next track", false)
	add(`(?:play|give me|hear|put on) (?:the )?next (?:one|song|track|tune)(?: on .*)?`, "next track", false)
	add(`(?:i (?:don't|do not) like|skip|change|next) (?:this|that|the) (?:song|track|one|tune)`, "skip this song", false)
	become(`(?:mute|silence|hush) (.+)`, "set $1 volume to 50", as("HassMediaPlayerMute", "", nil))
	become(`shut (.+) up`, "set $1 volume to 50", as("HassMediaPlayerMute", "", nil))
	become(`(?:unmute|un-mute|unsilence) (.+)`, "set $1 volume to 50", as("HassMediaPlayerUnmute", "", nil))
	become(`(?:bring|turn|put|get) the sound back(?: on)?(?: on| of| for)? (.+)`, "set $1 volume to 50", as("HassMediaPlayerUnmute", "", nil))
	become(`(?:turn|switch|cut) (?:off )?the sound (?:off )?(?:on|of|for) (.+)`, "set $1 volume to 50", as("HassMediaPlayerMute", "", nil))
	add(`(?:set|put|make|turn|change|adjust|have|bring|get)? ?(?:the |my |your )?(?:volume|sound)(?: level)?(?: set| turned| up| down| should be| be)*(?: to| at| on| of)?(?: level)? (\d+)(?: percent|%)?`,
		"set the volume to $1", false)
	add(`(?:set|put|make|turn|change|adjust|bring|get) (.+?) volume(?: level)?(?: up| down)*(?: to| at| on)?(?: level)? (\d+)(?: percent|%)?`, "set $1 volume to $2", false)

	add(`(?:carry on|go on|keep going|keep playing)(?: with)?(?: (?:the|my) (?:film|movie|music|show|song))?`+here, "resume$1", false)
	add(`(?:hear|listen to|throw on|put on|stick on|crank up|blast|start playing|stream|shuffle)(?: some| a bit of)? (.+?)`+here, "play $1$2", false)

	// Lights by what is wrong with them.
	add(`(?:give me |some |more |a bit of |we need |i need |could use )*(?:some |more |a little )?light(?:s)?`+here, "turn on the lights$1", false)
	add(`(?:no|kill all|zero) lights?`+here, "turn off the lights$1", false)
	add(`(?:less light|make it (?:darker|dimmer|cozier|cosier))`+here, "set the brightness of the lights$1", false)
	add(`(red|green|blue|white|yellow|orange|purple|pink|turquoise|brown) lights?`+here, "set the lights$2 color to $1", false)
	add(`lights? out`+here, "turn off the lights$1", false)
	add(`(?:give|make|get) (?:me |us )?(?:some )?darkness`+here, "turn off the lights$1", true)
	add(`(?:let|bring) (?:some |in |the |more )*(?:sun|sunlight|daylight|light|sunshine)(?: in| into)?`+here, "open the blinds$1", false)
	add(`(?:let|bring) (?:some |in |the |more )*(?:sun|sunlight|daylight|light|sunshine) into (.+)`, "open the blinds in $1", false)
	add(`let there be (?:some )?light`+here, "turn on the lights$1", false)
	add(`make it (?:bright|light|brighter)`+here, "turn on the lights$1", false)

	add(`turn (.+?) (?:up|down) to (\d+)(?: percent|%)?`, "set $1 to $2 percent", false)
	add(`volume (?:at |to |of )?(\d+)(?: percent|%)? (?:on|for|in) (.+)`, "set $2 volume to $1", false)
	add(`(.+?)(?: at| to)?(?: a)? volume(?: of| at| to)? (\d+)(?: percent|%)?`, "set $1 volume to $2", false)

	// What is to be asked for.
	add(`(?:dim|brighten|lower|raise|turn down|turn up|darken|soften) (?:down |up )?(\D+?)(?: (?:a bit|a little|a little bit|some|slightly|down|up))*`, "set $1 brightness", false)
	add(`turn (\D+?) (?:up|down)(?: (?:a bit|a little|a little bit|some|slightly))*`, "set $1 brightness", false)
	add(`(?:make|set|put|have) (\D+?)(?: a bit| a little| a little bit| slightly| much| some)* (?:more )?(?:dimmer|darker|brighter|low|lower|softer)`, "set $1 brightness", false)
	for _, v := range []struct{ step, way, adjective string }{{"up", "up", "louder|loud"}, {"down", "down", "quieter|softer|quiet"}} {
		verb := map[string]string{"up": "raise|increase|crank up|turn up|pump up", "down": "lower|decrease|reduce|turn down"}[v.step]
		up := as("HassSetVolumeRelative", "volume_step", v.step)
		const little = `(?: a bit| a little| a little bit| a touch| some| slightly| much)?`
		become(`(?:turn|crank|bring|put) (?:it|that|this) `+v.way+little, "set the volume to 50", up)
		b.list[len(b.list)-1].early = true
		become(`(?:make it |a bit |a little |much |way |can be )*(?:`+v.adjective+`)`, "set the volume to 50", up)
		become(`(?:it's |that's |this is )?(?:a bit |a little |way |far |much )?too (?:`+map[string]string{"up": "quiet|soft", "down": "loud|noisy"}[v.step]+`)`, "set the volume to 50", up)
		become(`(?:`+verb+`) (?:the |your |my )?(?:volume|sound|music)`+little+here, "set the volume to 50$1", up)
		become(`(?:turn|crank|bring) (?:the |your |my )?(?:volume|sound|music) `+v.way+little+here, "set the volume to 50$1", up)
		become(`(?:make|turn|have) (.+?)`+little+` (?:`+v.adjective+`)`, "set $1 volume to 50", up)
		become(`(?:turn|crank) (.+?) (?:volume )?`+v.way+little, "set $1 volume to 50", up)
		become(`(?:`+verb+`) (.+?)(?:'s)?(?: volume)?`+little, "set $1 volume to 50", up)
		become(`(.+?) is (?:a bit |a little |way |far |much )?too (?:`+map[string]string{"up": "quiet|soft", "down": "loud|noisy"}[v.step]+`)`, "set $1 volume to 50", up)
	}
	b.degrees(`(?:make it |a bit |a little |get it )*(?:warmer|cooler|hotter|colder)`)
	b.degrees(`(?:turn up|turn down|turn on|crank up|raise|lower|increase|decrease|reduce|start|set|change|adjust) (?:the |my )?(?:heat|heating|temperature|temp|ac|thermostat)`)

	for _, v := range []struct {
		said    string
		percent float64
	}{{"full|100 percent|full speed|full blast|full power|maximum|maximum speed|max|high|high speed|the highest speed|top speed", 100}, {"50 percent|half|half speed|half power|medium|medium speed", 50},
		{"25 percent|low|low speed|minimum|minimum speed|the lowest speed", 25}} {
		become(`(?:set |turn |put |run |have )?(.*\b(?:fan|extractor|ventilator)\b.*?)(?: on| up| down)? (?:to|on|at) (?:`+v.said+`)`, "turn on $1", as("HassFanSetSpeed", "percentage", v.percent))
	}

	// Climate and air.
	add(`(?:heat|warm|cool|bring|get|keep)(?: up| down)? (?:the |my )?(.+?)(?: up| down)? (?:to|at) (\d+(?:\.\d)?)(?: degrees)?`, "set the temperature in the $1 to $2 degrees", false)
	add(`(?:set|put|turn|change|adjust|bump|crank|raise|lower) (?:the |my )?(.+?)(?: up| down)? (?:to|at) (\d+(?:\.\d)?) degrees`, "set the temperature of the $1 to $2 degrees", false)
	add(`(?:set|put|turn|change|adjust|bump|crank|raise|lower|make) (?:the |my )?(.+?)(?: up| down)?(?: to| at)? (\d+(?:\.\d)?) degrees`, "set the temperature in the $1 to $2 degrees", false)
	add(`(?:set|put|turn|change|adjust|bump|crank|raise|lower) (?:the |my )?(.+? (?:heating|heater|radiator|thermostat|ac|air conditioning|air conditioner))(?: up| down)? (?:to|at) (\d+(?:\.\d)?)(?: degrees)?`,
		"set the temperature of the $1 to $2 degrees", false)
	add(`(?:i want |i'd like |make it |have it |get it )?(\d+(?:\.\d)?) degrees(?: is| would be| should be)?(?: plenty| enough| fine| good| perfect| nice| warm enough)*(?: for| in) (?:the |my )?(.+)`,
		"set the temperature in the $2 to $1 degrees", false)
	b.degreesIn(`(?:give|let) ((?:the |my )?.+?) (?:have )?(?:some|a bit of) (?:heat|warmth)`)
	add(`(?:need |want |get |let |let in )?(?:a |some )?(?:breeze|fresh air|air|ventilation|draught|draft)(?: in)?`+here, "turn on the fan$1", false)
	add(`how (?:damp|humid|moist) is (?:it )?(?:in )?(.+)`, "what is the humidity in $1", false)
	add(`how (?:hot|warm|cold|cool|toasty) is (?:it )?(?:in |on )?(.+)`, "what is the temperature in $1", false)

	// Verbs.
	add(`(?:get|set) (.+) (?:going|running|started|working|on the go)`, "turn on $1", false)
	add(`(?:leave|keep|have|want) (.+) (on|off)`, "turn $2 $1", false)
	add(`put out (.+)`, "turn off $1", false)
	add(`(?:get rid of|do away with) (?:that |the |this )?(.+)`, "turn off the $1", false)
	add(`(.+?) (?:isn't|is not|aren't|are not|is no longer|are no longer) needed(?: any ?more| any longer| now)?`, "turn off $1", false)
	add(`(?:don't|do not) need (.+?)(?: any ?more| any longer| now| on)`, "turn off $1", false)
	add(`(?:warm|wake|heat|boot|start|fire|spin|spark) (.+) up|(?:warm up|wake up|heat up|boot up|fire up) (.+)`, "turn on $1$2", false)
	add(`(?:turn|crank|bring|put|set) (.+?) (?:all the way )?(?:up )?(?:all the way|to the max|to maximum|to max|to full|full blast)(?: up)?`, "set $1 brightness to maximum", false)
	add(`(.+?) (?:on|at) (?:full|maximum|max)(?: blast| power| brightness)?`, "set $1 brightness to maximum", false)
	add(`(?:dim|brighten|set|bring|turn|put|lower|raise) (.+?)(?: down| up)? (?:to|at) (\d+) ?(?:percent|%)`, "set $1 brightness to $2 percent", false)
	add(`(.+?)(?: at| to) (\d+)(?: percent|%)(?: power| brightness)?`, "set $1 to $2 percent", false)
	add(`(.+?) (\d+)(?: percent|%) open`, "set $1 position to $2 percent", false)
	add(`(?:open|raise|lower|close|pull|draw) (.+?)(?: up| down)? (\d+)(?: percent|%)`, "set $1 position to $2 percent", false)
	add(`(?:pull|roll|draw|lift|wind) (.+) (?:up|open|back)`, "open $1", false)
	add(`(?:pull|roll|draw|wind|put|bring) (.+) (?:down|shut|closed)`, "close $1", false)
	add(`(?:shut|keep|block) out (?:the )?(?:sun|light|sunlight|daylight)`+here, "close the blinds$1", false)
	add(`(?:kill|cut|douse|extinguish|snuff(?: out)?|lose|ditch|axe|zap|flick off|snap off|knock off|shut down|shut off|power off|power down|switch off|cut off|disable|deactivate|stop) (.+)`, "turn off $1", false)
	add(`(?:shut|switch|power|cut|flip|flick|pop|hit|snap|click|put|get|bring|knock) (.+?) (?:off|out|down)`+here, "turn off $1$2", false)
	add(`(?:power up|power on|fire up|switch on|flip on|flick on|pop on|stick on|throw on|click on|put on|get on|start up|light up|enable|activate|start|boot up|crank up) (.+)`, "turn on $1", false)
	add(`(?:put|flip|flick|pop|stick|throw|hit|chuck|click|get|bring|switch|power|fire|have) (.+) (?:on|up)`, "turn on $1", false)
	add(`(.+) (?:should be|needs to be|must be|has to be|ought to be|to be) (on|off)`, "turn $2 $1", false)
	add(`(?:shut|pull down|draw|roll down|put down|bring down) (.+)`, "close $1", false)
	add(`(?:pull up|roll up|put up|draw back|bring up|pull back) (.+)`, "open $1", false)
	add(`(?:secure|bolt|latch) (.+)`, "lock $1", false)
	add(`lock (?:up|everything|the house|up the house)`, "lock all the doors", false)
	add(`(?:paint|color|colour|turn|make|light) (.+) (red|green|blue|white|yellow|orange|purple|pink|turquoise|brown|black)`, "set $1 color to $2", false)

	// Timers and lists.
	add(`(?:wake|alert|ping|tell|notify|warn|call) me (?:up )?(?:in|after) (.+)`, "set a timer for $1", false)
	add(`(?:count ?down|time|timer)(?: me)?(?: for| from| of)? (.+)`, "set a timer for $1", false)
	add(`(?:get|make|start|have|do|create|put)(?: me)?(?: up)? (?:a |the |another )?timer(?: set| running| going)?(?: for| of| to)? (.+)`, "set a timer for $1", false)
	add(`set (?:up )?(?:an |the )?(?:alarm|countdown) (?:for|of) (\d+ .+?)(?: from now)?`, "set a timer for $1", false)
	add(`(?:put|place|write|stick|throw|get|jot)(?: down)? (.+) (?:on|onto|to|in) (?:the |my |our )?(?:shopping|grocery|groceries) list`, "add $1 to my shopping list", false)
	add(`(?:add|put) (.+) (?:to|on) (?:the |my |our )?(?:shopping|groceries|grocery|grocery shopping)`, "add $1 to my shopping list", false)
	add(`(?:add|put) (.+) (?:to|on) (?:the |my |our )?list`, "add $1 to my shopping list", false)
	add(`(?:how much time|how long) (?:is |do i have |have i got )?(?:left|remaining|to go)`, "how much time is left on my timer", false)
	add(`(?:we're|we are|i'm|i am) (?:almost |nearly |running )?out of ([\pL]+(?: [\pL]+){0,3})`, "add $1 to my shopping list", false)
	add(`we ran out of ([\pL]+(?: [\pL]+){0,3})`, "add $1 to my shopping list", false)

	add(`(?:give|put) (?:the |my )?(.+?)(?: timer)? (?:another|an extra|an additional) (\d+ [a-z]+)`, "add $2 to $1 timer", false)
	add(`(?:need |set |give me |i need )?(?:a |me )?reminder (?:in|after) (\d+ [a-z]+) (?:for|about|to check) (?:the |my )?(.+)`, "set a timer for $1 named $2", false)

	// Questions.
	add(`(?:what|which) hour is it|how late is it|what's the hour`, "what time is it", false)
	add(`did (?:i|we|anyone|anybody|someone|somebody) (?:leave|forget) (.+) (on|off|open|unlocked)`, "is $1 $2", false)
	add(`did (?:i|we|anyone|anybody|someone|somebody) lock (.+)`, "is $1 locked", false)
	add(`did (?:i|we|anyone|anybody|someone|somebody) close (.+)`, "is $1 closed", false)
	add(`did (?:i|we|anyone|anybody|someone|somebody) turn (on|off) (.+)`, "is $2 $1", false)
	add(`(?:is|are) (.+) still (on|off|open|closed|locked|unlocked|running)`, "is $1 $2", false)
	add(`(?:do you (?:have|know)|got|have you got) the (time|date)`, "what is the $1", false)
	add(`(?:the |current |today's )?(time|date)`, "what is the $1", false)
	add(`(?:how's|how is|what does|what's) (?:the )?weather(?: look| looking)?(?: like)?(?: today| outside| out there)?`, "what is the weather like", false)
	add(`(?:what's|what is|give me|tell me|show me)(?: the| today's| current)* (?:weather|forecast)(?: report| forecast)?(?: for)?(?: today| outside)?`, "what is the weather like", false)

	// Vacuums.
	add(`(?:vacuum|hoover|sweep|clean)(?: up)?(?: the)?(?: floor| floors| carpet| house)?`, "start the vacuum", false)
	add(`(.+?) (?:should|must|needs to|has to|can|may|could) (?:go|return|get)(?: back| home)*(?: to)?(?: its| the| his| her)? ?(?:dock|base|charger|charging station|station)?`, "return $1 to base", false)
	add(`(?:send|take|bring) (.+) (?:home|back|to (?:its|the) (?:dock|base|charger)|back to (?:its|the) (?:dock|base))`, "return $1 to base", false)
}

// way is one way to say a command that the model may know.
type way struct {
	*paraphrase
	text string
}

const maxWays = 4

// paraphrasesOf are the ways to say a command, the first few of those that are tried early or of the others.
func paraphrasesOf(text string, early bool) (ways []way) {
	asks, orders := questions().MatchString(text), starts().MatchString(strings.ToLower(text))
	for i := range paraphrases() {
		p := &paraphrases()[i]
		if p.early != early || len(ways) == maxWays || p.order && orders || asks && !questions().MatchString(p.is) {
			continue
		}
		m := p.said().FindStringSubmatchIndex(text)
		if m == nil {
			continue
		}
		is := string(p.said().ExpandString(nil, p.is, text, m))
		if !slices.ContainsFunc(ways, func(w way) bool { return w.text == is }) {
			ways = append(ways, way{p, is})
		}
	}
	return ways
}
