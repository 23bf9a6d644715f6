package home

import (
	"strings"

	"bimamba/edge/intent"
)

// What is wrong, and how things should be, instead of what to do. Each rule is an intent of Home Assistant's
// (developers.home-assistant.io/docs/intent_builtin) by the state that it ends or brings about; what it is for stays in the user's words and has to be
// accounted for as in any command. They were written on testdata/wishes.jsonl.

const (
	// much is how much of something something is.
	much = `(?: (?:a|kind of|sort of|bit|little|tad|touch|way|far|so|very|really|pretty|awfully|terribly|rather|quite|fairly|just|much|all|always|still|too|incredibly|` +
		`extremely|absolutely|ridiculously|horribly|somewhat|completely|totally|again|now))*`
	// seems is a verb of states of now. What was and what will be is no wish.
	seems = `(?:'s| is| are|'s getting| is getting| are getting|'s become| has become| has gotten|'s got| has got| gets| got| feels| seems| looks|s)`
	// cannot are verbs behind "I".
	cannot = `(?:can't|cannot|can not|cant|can barely|can hardly|can scarcely|couldn't) (?:really |even )?`
	// thing is one that is spoken of as known: "I'm done with you" is no wish about a device.
	device = `((?:the|my|our|this|that|these|those|all) [\pL\pN' ]+?|[\pL]+'s [\pL\pN' ]+?)`
)

// complaint is a state that somebody complains of, and what ends it.
type complaint struct {
	states string // adjectives
	is     string // a command; where it is said follows
	ask    bool
	become func(*intent.Outcome)
}

func (b *phrasebook) complaints() {
	softer, louder := as("HassSetVolumeRelative", "volume_step", "down"), as("HassSetVolumeRelative", "volume_step", "up")
	for _, c := range []complaint{
		{`dark|darkish|gloomy|dim|dimly lit|badly lit|black|pitch[ -]?black|pitch[ -]?dark|shadowy|murky|dingy|unlit|like a (?:cave|cellar|tomb|dungeon)`, "turn on the lights", false, nil},
		{`bright|glaring|dazzling|blinding|brightly lit`, "turn off the lights", true, nil},
		{`stuffy|stale|muggy|humid|stinky|smelly|steamy|steamed up|smoky|airless|musty|sticky`, "turn on the fan", false, nil},
		{`dirty|filthy|dusty|grubby|grimy|covered in (?:crumbs|dust|dirt)|full of (?:crumbs|dust|dirt)`, "start the vacuum", false, nil},
		{`loud|noisy|deafening`, "set the volume to 50", false, softer},
		{`quiet|silent`, "set the volume to 50", true, louder},
	} {
		// Of floors and carpets there is one vacuum, whatever room they are in.
		if strings.Contains(c.is, "vacuum") {
			b.add(`(?:the|this|my|our) (?:[\pL' ]+ )?(?:floor|floors|carpet|carpets|rug)`+seems+much+` (?:`+c.states+`)`, c.is, c.ask)
			continue
		}
		b.become(`(?:(?:it|this|that|everything)`+seems+`|why is it|why's it|how come it's)?`+much+` ?(?:`+c.states+`)`+here, c.is+"$1", c.become)
		b.list[len(b.list)-1].ask = c.ask
		b.become(`(?:the air in |why is )?((?:the|my|our|this) [\pL\pN' ]+?)`+seems+much+` (?:`+c.states+`)(?: in here)?`, c.is+" in $1", c.become)
		b.list[len(b.list)-1].ask = c.ask
	}
	b.become(device+seems+much+` (?:deafening|too loud|too noisy)`, "set $1 volume to 50", softer)
	b.become(device+seems+much+` (?:inaudible|too quiet|too soft)`, "set $1 volume to 50", louder)
	b.add(device+seems+much+` (?:too (?:bright|dim|dark)|dazzling|blinding)(?: me)?`, "set $1 brightness", false)

	b.add(`(?:(?:i|we) )?`+cannot+`see(?: anything| a thing| well| much| each other| (?:what|where) (?:i'm|we're|i am|we are) [\pL]+| my own [\pL]+)?`+here, "turn on the lights$1", false)
	b.add(`(?:(?:there|here) (?:is|isn't|is not)|there's|not)(?: nearly| anywhere near)? (?:enough|too little|hardly any|barely any|no|any)(?: of)? (?:light|lighting)`+here, "turn on the lights$1", false)
	b.add(`((?:the|my|our|this) [\pL\pN' ]+?) (?:needs|could use|could do with|wants)`+much+` (?:some |more )*light(?:ing)?`, "turn on the lights in $1", false)
	b.add(`(?:(?:there is|there's|it's) )?(?:too much|so much) light`+here, "turn off the lights$1", true)
	b.add(`the lights?(?: in here)? (?:is|are|hurts?) (?:blinding|dazzling|hurting|killing|too bright for|my eyes)(?: me| us| my eyes)?`+here, "turn off the lights$1", true)
	b.add(`the sun(?:light)? (?:is|hurts|keeps) (?:blinding|dazzling|in|hurting|shining in|shining into)? ?(?:me|us|my eyes|our eyes|my face)`+here, "close the blinds$1", true)
	b.add(`(?:(?:there is|there's|it's) )?(?:too much|so much) (?:sun|sunlight|sunshine|glare)`+here, "close the blinds$1", false)
	b.add(`(?:it|something) (?:smells|stinks|reeks)(?: (?:bad|badly|terrible|awful|funny|of [\pL]+))?`+here, "turn on the fan$1", false)
	b.add(`(?:ventilate|air|air out|aerate|freshen up) ((?:the|my|our|this) [\pL\pN' ]+?)|((?:the|my|our|this) [\pL\pN' ]+?) needs (?:airing|fresh air|some air|ventilating|ventilation|air)`, "turn on the fan in $1$2", false)
	b.add(`(?:get|blow|move|circulate)(?: some| the)? air(?: moving| around| circulating| going| flowing)*`+here, "turn on the fan$1", false)
	b.add(`(?:there (?:are|is)|there's|i (?:dropped|spilled)) (?:some |all these )?(?:crumbs|dust|dirt|sand|hair|dog hair|cat hair)(?: all over| everywhere)?(?: on| over)?(?: the (?:floor|place|carpet|rug))?`,
		"start the vacuum", false)
	b.add(`(?:the |my |our )?(?:plants|garden|lawn|grass|flowers|flower beds)(?: is| are| look| looks)?`+much+` (?:thirsty|dry|dried out|parched|need water|needs water|need watering|needs watering)`, "open the valve", true)
	b.add(`(?:water|sprinkle|give some water to|give water to) (?:the |my |our )?(?:plants|garden|lawn|grass|flowers|flower beds|yard)|(?:let|give) (?:the |my |our )?(?:plants|garden|lawn|grass|flowers) (?:have )?(?:some )?(?:water|a drink)`,
		"open the valve", true)
	b.add(`(?:that's |that is )?enough water(?:ing)?(?: for (?:the|my|our) (?:plants|garden|lawn|grass|flowers))?`, "close the valve", true)
	b.become(`(?:i|we) `+cannot+`hear (?:myself think|my own voice)`, "set the volume to 50", softer)
	b.become(`(?:i|we) `+cannot+`hear `+device, "set $1 volume to 50", louder)

	b.degrees(`(?:i'm|i am|we're|we are|i feel|we feel|i'm feeling|my (?:feet|hands|fingers|toes|nose|legs) are)` + much + ` (?:cold|chilly|freezing|frozen|shivering|hot|warm|boiling|roasting|melting|sweating)(?: cold| to death)?`)
	b.degrees(`(?:(?:it|this)` + seems + `)?` + much + ` ?(?:cold|chilly|freezing|freezing cold|ice cold|nippy|icy|frosty|draughty|drafty|cool|hot|warm|boiling|boiling hot|roasting|sweltering|scorching|baking|toasty|stuffy|like (?:a|an) (?:oven|sauna|fridge|freezer|furnace|icebox))`)
	b.degreesIn(`((?:the|my|our|this) [\pL\pN' ]+?)` + seems + much + ` (?:cold|chilly|freezing|ice cold|nippy|icy|draughty|drafty|cool|hot|warm|boiling|roasting|sweltering|baking|like (?:a|an) (?:oven|sauna|fridge|freezer|furnace|icebox))`)
	b.degreesIn(`(?:warm|heat|cool)(?: up| down)? ((?:the|my|our|this) [\pL' ]+?)(?: up| down)?(?: a bit| a little| a little bit| some)?`)
}

// degrees sets a temperature. Where none is said it asks for one, since the model would make one up.
func (b *phrasebook) degrees(said string) {
	b.add(said+here+`(?: to| at)? (\d+)(?: degrees)?`, "set the temperature$1 to $2 degrees", false)
	b.become(said+here, "set the temperature$1 to 20 degrees", howMany)
}

// degreesIn is degrees of a place that said begins with.
func (b *phrasebook) degreesIn(said string) {
	b.become(said, "set the temperature in $1 to 20 degrees", howMany)
}

func howMany(o *intent.Outcome) {
	*o = intent.Outcome{Refused: true, Lacks: true, Text: "To how many degrees?", Reason: "no temperature is said"}
}

// wishes are how things should be, and politeness about what to do.
func (b *phrasebook) wishes() {
	// States. What is in front of them has to be a wish: "is the door open" is a question.
	const (
		have   = `(?:please )?(?:have|get|want|keep|leave|put|make sure(?: that)?|see(?: to it)? that|ensure(?: that)?|be sure(?: that)?|don't forget(?: that)?) `
		should = `(?: should| must| ought to| needs? to| has to| have to| is to| are to)(?: be| get| go| stay)?`
	)
	for _, s := range []struct{ state, is string }{
		{`on|running|switched on|turned on|started|lit|going`, "turn on"}, {`off|switched off|turned off|out`, "turn off"}, {`unlocked|unbolted`, "unlock"},
		{`locked|secured|bolted|locked up`, "lock"}, {`open|opened|up|raised|pulled up|wide open`, "open"}, {`closed|shut|down|lowered|drawn|pulled down`, "close"},
	} {
		state := `(?: is| are| gets| be)? (?:` + s.state + `)`
		b.add(have+`(.+?)`+state, s.is+" $1", false)
		b.add(`(.+?)`+should+` (?:`+s.state+`)`, s.is+" $1", false)
		b.order(`((?:the |my |our |all |both )*[\pL\pN' ]+?) (?:`+s.state+`)`, s.is+" $1")
	}
	for _, s := range []struct{ state, is string }{
		{`(?:turning|switching) on`, "turn on"}, {`(?:turning|switching) off`, "turn off"}, {`opening`, "open"}, {`closing|shutting`, "close"}, {`locking`, "lock"}, {`unlocking`, "unlock"},
		{`cleaning|vacuuming|hoovering`, "vacuum"},
	} {
		b.add(`(.+?) (?:needs|wants|could do with) (?:`+s.state+`)`, s.is+" $1", false)
	}

	// Enough of something.
	b.add(`(?:(?:i'm|i am|we're|we are) (?:sick|tired|bored|fed up) (?:of|with)|(?:i |we )?(?:hate|can't stand)) (?:this|that|the) (?:song|track|one|tune)`, "skip this song", false)
	b.add(`give it a rest(?: with `+music+`)?`+here+`|(?:that's |that is )?enough (?:of )?`+music+here, "pause the music$1$2", false)
	b.add(`(?:(?:i'm|i am|we're|we are|i've|i have|we've) )?(?:done|finished|through|sick|tired|fed up) (?:with|of) `+device, "turn off $1", false)
	b.add(`(?:(?:that's|that is|i've had|i have had|we've had|had) )?enough (?:of |with |from )`+device, "turn off $1", false)
	b.add(`(?:no more|enough) lights?`+here, "turn off the lights$1", false)
	b.add(`(?:i |we )?(?:don't|do not|no longer) (?:really )?(?:need|want) `+device+`(?: any ?more| any longer| now| on| running)*`, "turn off $1", false)
	b.add(device+` (?:can|may|could) (?:go off|go out|be (?:switched|turned) off|rest|sleep|stop)(?: now)?`, "turn off $1", false)
	b.add(`(?:don't|do not|never) leave `+device+` (?:on|running)`, "turn off $1", false)
	b.add(`(?:don't|do not|never) leave `+device+` open`, "close $1", false)
	b.add(`(?:don't|do not|never) leave `+device+` unlocked`, "lock $1", false)
	b.add(`(?:somebody|someone|i|we|he|she|they) (?:forgot to|didn't|did not) ((?:turn|switch|close|shut|lock) .+)`, "$1", true)
	b.add(`(?:somebody|someone|i|we|he|she|they) (?:left|forgot) `+device+` (?:on|running)`, "turn off $1", true)
	b.add(`(?:somebody|someone|i|we|he|she|they) (?:left|forgot) `+device+` open`, "close $1", true)

	b.add(device+` (?:has|have) been (?:on|running)(?: (?:all (?:night|day|morning|evening)|for (?:ages|hours|too long)|too long|long enough))`, "turn off $1", true)
	b.add(device+` (?:isn't|is not|aren't|are not|shouldn't|should not|doesn't need to|does not need to|don't need to|needn't)(?: supposed to| meant to)? be (?:on|running)`, "turn off $1", false)
	b.add(`(?:send|put) `+device+` to (?:sleep|bed|rest)`, "turn off $1", false)

	// Light and dark.
	b.add(`(?:complete |total |some )?darkness`+here, "turn off the lights$1", false)
	b.add(`(?:put|plunge) (.+) in(?:to)? darkness`, "turn off the lights in $1", false)
	b.add(`(?:have it |make it |can it be |be )?(?:a bit |a little |much |slightly )?(?:brighter|dimmer|darker|cosier|cozier)`+here+`|(?:only |just )?(?:a little|a bit of|very little|dim|soft) light`+here, "set the brightness of the lights$1$2", false)
	b.add(`(?:some |a |a bit of )?(?:romantic |nice |soft |gentle |warm |bright |deep |dark )*(red|green|blue|white|yellow|orange|purple|pink|turquoise) lights?`+here, "set the lights$2 color to $1", false)
	b.add(`make (?:it|everything) (?:really |completely |all )?(?:dark|black|pitch black)`+here, "turn off the lights$1", false)
	b.add(`(?:hit|get) the lights`+here, "turn on the lights$1", true)
	b.add(`(?:get (?:me|us) |fetch |use )?(?:some |a bit of |a little |more )*light`+here, "turn on the lights$1", false)
	b.add(`(?:give|make|turn|bathe|paint) `+device+` (?:in )?(?:a |some )?(red|green|blue|white|yellow|orange|purple|pink|turquoise)(?: tint| glow| color| colour| hue| shade| light)`, "set $1 color to $2", false)
	b.add(`(?:full|maximum|max|all the) (?:brightness|light|power) (?:for|on|from) (.+)`, "set $1 brightness to maximum", false)

	// Moods and the times of a day are scenes.
	b.add(`(?:set (?:up )?(?:the )?(?:mood|scene|stage|house|room)|(?:get|make)(?: everything| everyone| things| the house| the room| us)? ready|prepare(?: everything| the house| the room| things)?|ready|time) for (?:a |the |our )?(.+)`,
		"activate $1", false)
	b.add(`(?:it's )?(?:bedtime|bed time|sleep time)|(?:it's |it is )?time (?:for bed|to sleep)|(?:(?:i'm|i am|we're|we are) )?(?:off|going|heading) to (?:bed|sleep)(?: now)?`, "activate good night", true)
	b.add(`(?:(?:it's|it is) )?(?:movie|film|cinema) time|(?:(?:we're|we are|i'm|i am) )?(?:going to |about to )?(?:watch|see) a (?:film|movie)`, "activate movie night", true)
	b.add(`(?:the )?([\pL]+) is (?:served|ready|about to start|starting)`, "activate $1", true)
	b.add(`(?:(?:i'm|i am|we're|we are) )?(?:off|going|heading) to (?:bed|sleep)(?: now)?, (.+)`, "activate $1", false)

	// Covers.
	b.add(`(?:some |a bit of |a little |more )*privacy`+here, "close the blinds$1", true)
	b.add(`let (?:me|us|him|her|them) (?:out|in)(?: of| at| by| through| to)? (?:the )?(driveway|gate|garage|yard)`, "open the gate", true)
	b.add(`(?:crack|roll|get|bring|set|draw|pull|lift) (.+?)(?: open| up| down)? to (\d+)(?: percent|%)`, "set $1 position to $2 percent", false)

	b.add(`(?:get|keep) the sun out of (?:my eyes|our eyes|my face|here|this room)`+here+`|(?:block|keep) (?:out )?the (?:view|sun|light|neighbours|neighbors)(?: out| in)?(?: into)?`+here, "close the blinds$1$2", true)
	b.add(`(?:drop|let down|release|unroll) (.+)`, "close $1", false)
	b.add(`(?:open|close|set|move|raise|lower|lift|pull|put|bring|roll|let|get)(?: up| down)? (.+?)(?: up| down)? (?:halfway|half way|half|midway)(?: open| up| down| closed| shut)?`, "set $1 position to 50 percent", false)
	b.add(`((?:open|close|shut|lock) .+?) (?:behind|after) (?:me|us|him|her|them)`, "$1", false)

	b.add(`(lock|unlock|open|close|shut) both (?:the |my |our )?(.+)`, "$1 all the $2", false)

	// Alarms. They are asked about in any case.
	b.add(`(?:set|switch|put) (.+?) to armed|arm (.+)`, "turn on $1$2", true)
	b.add(`disarm (.+)`, "turn off $1", true)

	// Music and films.
	const show = `(?:the |my |this )?(?:film|movie|show|series|music|song|playback|video)`
	b.add(`(?:hold|freeze|halt) `+show+`(?: for .+)?`+here, "pause$1", false)
	b.add(`let `+show+` (?:go on|continue|run|play)`+here, "resume$1", false)
	b.add(`(?:(?:play|hear|listen to) )?(?:that|this|it)(?: one| song| track)? (?:again|once more|one more time)|(?:play|hear) (?:that|this|it)(?: one| song| track)? (?:again|once more)|one more time|encore`,
		"previous track", false)
	b.add(`(?:(?:i'm|i am|we're|we are) )?in the mood for(?: some| a bit of)? (.+?)`+here, "play $1$2", false)

	b.add(`put (?:some|a bit of|a little) (.+?) on`+here, "play some $1$2", false)
	b.add(`(?:the )?next(?: one| song| track| tune)?`, "next track", false)
	b.add(`(?:pause|hold on|wait|hold it|stop)(?: it| that)? for (?:a|one) (?:second|sec|moment|minute|bit|while)|hold on|hold it`, "pause the music", false)
	const racket = `(?:the|that|this) (?:racket|noise|din|blaring|sound)`
	b.become(`(?:turn|keep) `+racket+` down|(?:turn|keep) down `+racket, "set the volume to 50", as("HassSetVolumeRelative", "volume_step", "down"))
	b.add(`(?:stop|end|kill|cut) `+racket, "pause the music", true)

	// Vacuums.
	b.add(device+` (?:should|must|can|could) (?:clean|vacuum|sweep|start|get to work|go to work)(?: up| now)*`, "start $1", false)
	b.add(`(?:vacuum|hoover|sweep)(?: up)? (?:the |my |our )?[\pL ]+`, "start the vacuum", true)

	// Machines by what they make.
	b.add(`(?:make|brew|fix)(?: me| us)? (?:a |an |some |another )?(?:cup of |strong |fresh )*(?:coffee|espresso|cappuccino)`, "turn on the coffee machine", true)

	// Lists and timers.
	b.add(`(?:there's|there is|there are|we have|i have|we've|i've|we've got|i've got) no (?:more )?([\pL ]+?) (?:left|in the house|in the fridge)`, "add $1 to my shopping list", true)
	b.add(`(?:remind me|don't let me forget|do not let me forget|help me remember|remember) to (?:buy|get|pick up) (.+)`, "add $1 to my shopping list", false)
	b.add(`(?:(?:we|i|we've|i've|we have|i have) )(?:run|ran) out of ([\pL]+(?: [\pL]+){0,3})`, "add $1 to my shopping list", false)
	b.add(`(?:note|write down|jot down|remember)(?: that)? (?:we|i) (?:need|want|are out of|have no) ([\pL ]+)`, "add $1 to my shopping list", false)
	b.add(`how (?:much longer|long)(?: (?:on|for|until|till|before|is)(?: the| my)?(?: timer)?)?(?: is up| goes off| ends| to go)?`, "how much time is left on my timer", false)
	b.add(`(turn|switch|shut|put|power) (.+?) (on|off)(?: again)? in (\d[\d\pL ]* ?(?:seconds?|minutes?|hours?))`, "in $4 $1 $3 $2", false)
	b.early(`(?:let me know|tell me|give me a (?:shout|call|ring|heads up|nudge|ping|buzz|sign)|shout|beep|buzz me|nudge me|call me|remind me|alert me) (?:in|after|when|once) (\d[\d\pL ]* ?(?:seconds?|minutes?|hours?))(?: (?:are|is|have|has) (?:over|up|gone|done|passed))?`,
		"set a timer for $1")

	// Questions.
	b.add(`is the garage (?:still )?open`, "is the garage door open", false)
	b.add(`is the garage (?:still )?(?:closed|shut)`, "is the garage door closed", false)
	b.add(`(?:is|are) (.+?) (?:still )?shut`, "is $1 closed", false)
	b.add(`what(?:'s| is) today(?:'s date)?`, "what is the date", false)
	b.add(`is (?:there )?(?:a |any |some )?(?:still )?(?:a |any )?lights? (?:still )?(?:on|lit|burning|shining)`+here, "are any lights on$1", false)
	b.add(`is (?:it|the weather) (?:very |really )?(?:cold|hot|warm|chilly|freezing|mild|cool)((?: in| on)? [\pL ]+)`, "what is the temperature$1", false)
	b.add(`is (?:anything|something) (?:still )?(?:lit|lit up|burning|shining)`+here, "are any lights on$1", false)
}
